# Compiles the published totals into C: awk -f bench/profiles/compile.awk bench/profiles/*.csv > profile_data.c
# A profile X is X-monthly.csv (month,encounters), X-sectors.csv (component,area_of_responsibility,aor_code,encounters) and, for its year Y (X up
# to the first hyphen), Y-usbp-demographics.csv (demographic,encounters). Months and areas must add up to the published total,
# Border Patrol areas and demographics to its share; anything else stops the build with a sentence on standard error. Plain POSIX
# awk: mawk and gawk give the same bytes.

BEGIN {
  FS = ","
  title["fy2021-southwest"] = "U.S. Customs and Border Protection, southwest land border, fiscal year 2021"
  total["fy2021-southwest"] = 1734686
  border_patrol["fy2021-southwest"] = 1659206
}

function stop(sentence) {
  print "compile.awk: " sentence > "/dev/stderr"
  stopped = 1
  exit 1
}

# The enum value of proto/encounter.proto that a published name stands for: "U.S. Border Patrol" is US_BORDER_PATROL.
function symbol(name) {
  gsub(/\./, "", name)
  gsub(/[^A-Za-z0-9]+/, "_", name)
  return toupper(name)
}

function count_of(text) {
  if (text !~ /^[1-9][0-9]*$/)
    stop(FILENAME ":" FNR ": \"" text "\" is no count of encounters")
  return text + 0
}

{ sub(/\r$/, "") }

FNR == 1 {
  file = FILENAME
  sub(/.*\//, "", file)
  kind = ""
  if (file ~ /-monthly\.csv$/) { kind = "month"; header = "month,encounters" }
  else if (file ~ /-sectors\.csv$/) { kind = "area"; header = "component,area_of_responsibility,aor_code,encounters" }
  else if (file ~ /-usbp-demographics\.csv$/) { kind = "demographic"; header = "demographic,encounters" }
  else stop(FILENAME ": the name says neither monthly, sectors nor usbp-demographics")
  base = file
  sub(/-(monthly|sectors|usbp-demographics)\.csv$/, "", base)
  if ($0 != header) stop(FILENAME ":1: the header is not " header)
  if (kind == "month") profiles[++profile_count] = base
  next
}

$0 == "" { next }

kind == "month" {
  if (NF != 2 || $1 !~ /^[0-9][0-9][0-9][0-9]-[01][0-9]$/) stop(FILENAME ":" FNR ": not YYYY-MM,COUNT")
  months[base] = months[base] sprintf("    {%d, %d, UINT64_C(%d)},\n", substr($1, 1, 4), substr($1, 6, 2), count_of($2))
  month_sum[base] += $2
  next
}

kind == "area" {
  if (NF != 4) stop(FILENAME ":" FNR ": not four columns")
  areas[base] = areas[base] sprintf("    {MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_%s, " \
                                    "MUSTER__V1__COMPONENT__COMPONENT_%s, UINT64_C(%d)},\n", \
                                    symbol($2), symbol($1), count_of($4))
  area_sum[base] += $4
  if ($1 == "U.S. Border Patrol") border_patrol_sum[base] += $4
  next
}

kind == "demographic" {
  if (NF != 2) stop(FILENAME ":" FNR ": not two columns")
  demographics[base] = demographics[base] sprintf("    {MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_%s, UINT64_C(%d)},\n", \
                                                  symbol($1), count_of($2))
  demographic_sum[base] += $2
  next
}

function check(profile, what, sum, expected) {
  if (!stopped && sum + 0 != expected) stop(profile ": " what " add up to " sum + 0 ", published are " expected)
}

function print_table(type, name, rows) {
  printf "static const struct %s %s[] = {\n%s};\n\n", type, name, rows
}

END {
  if (stopped) exit 1
  if (profile_count == 0) stop("no profile among the files")
  for (i = 1; i <= profile_count && !stopped; i++) {
    p = profiles[i]
    year = p
    sub(/-.*/, "", year)
    if (!(p in total)) stop(p ": its published total and title are not in this program")
    check(p, "the months", month_sum[p], total[p])
    check(p, "the areas", area_sum[p], total[p])
    check(p, "the Border Patrol's areas", border_patrol_sum[p], border_patrol[p])
    check(p, "the Border Patrol's demographics", demographic_sum[year], border_patrol[p])
  }
  if (stopped) exit 1

  print "/* Made by bench/profiles/compile.awk; do not edit. */"
  print "#include \"bench/profile.h\""
  print "#include \"proto/encounter.pb-c.h\"\n"
  for (i = 1; i <= profile_count; i++) {
    p = profiles[i]
    year = p
    sub(/-.*/, "", year)
    print_table("profile_month", "months_" i, months[p])
    print_table("profile_area", "areas_" i, areas[p])
    print_table("profile_demographic", "demographics_" i, demographics[year])
    table = table sprintf("    {.name = \"%s\",\n     .title = \"%s\",\n     .total = UINT64_C(%d),\n", p, title[p], total[p])
    table = table sprintf("     .month_count = sizeof months_%d / sizeof *months_%d,\n", i, i)
    table = table sprintf("     .area_count = sizeof areas_%d / sizeof *areas_%d,\n", i, i)
    table = table sprintf("     .demographic_count = sizeof demographics_%d / sizeof *demographics_%d,\n", i, i)
    table = table sprintf("     .months = months_%d,\n     .areas = areas_%d,\n     .demographics = demographics_%d},\n", i, i, i)
  }
  printf "const struct profile profile_table[] = {\n%s};\n", table
  printf "const size_t profile_table_count = %d;\n", profile_count
}
