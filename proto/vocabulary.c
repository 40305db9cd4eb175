/*
 * The tables of proto/vocabulary.h. A new value in a .proto file needs its line here; tests/proto/test_vocabulary.c walks the
 * generated descriptors and finds the one that was forgotten.
 *
 * Bounding boxes: public geography, namely the outermost points of the states, territories or counties that U.S. Customs and
 * Border Protection lists for the sector or field office (cbp.gov, "Border Patrol Sectors" and "Field Offices"), as the U.S.
 * Census Bureau gives them, to about a tenth of a degree, and some one degree added on every side. They are generous on purpose:
 * an encounter at sea, across a county line or in a neighbouring station's area must pass; a swapped sign, latitude and longitude
 * exchanged, or the coordinates of the other coast must not. Offices that work abroad or on both sides of the date line
 * (preclearance; San Francisco with Hawaii and Guam) have a box as wide as they are.
 */
#include "proto/vocabulary.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <protobuf-c/protobuf-c.h>

#include "core/limits.h"
#include "proto/encounter.pb-c.h"
#include "proto/wire.pb-c.h"

/* ---- areas ---- */

#define BORDER_PATROL MUSTER__V1__COMPONENT__COMPONENT_US_BORDER_PATROL
#define FIELD_OPERATIONS MUSTER__V1__COMPONENT__COMPONENT_OFFICE_OF_FIELD_OPERATIONS
#define NORTHERN MUSTER__V1__LAND_BORDER_REGION__LAND_BORDER_REGION_NORTHERN
#define SOUTHWEST MUSTER__V1__LAND_BORDER_REGION__LAND_BORDER_REGION_SOUTHWEST
#define OTHER MUSTER__V1__LAND_BORDER_REGION__LAND_BORDER_REGION_OTHER

#define E7(tenths) ((int32_t)(tenths)*1000000)
/* Ascending by value. */
static const struct vocabulary_area areas[] = {
/* clang-format off */
/* Edges in tenths of a degree: south, north, west, east. */
#define AREA(symbol, name, abbreviation, component, region, south, north, west, east) \
  {MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_##symbol, name, abbreviation, component, region, E7(south), E7(north), E7(west), E7(east)}
#define SECTOR(symbol, name, abbreviation, ...) AREA(symbol##_SECTOR, name " Sector", abbreviation, BORDER_PATROL, __VA_ARGS__)
#define OFFICE(symbol, name, ...) AREA(symbol##_FIELD_OFFICE, name " Field Office", name, FIELD_OPERATIONS, __VA_ARGS__)
    SECTOR(BIG_BEND, "Big Bend", "BBT", SOUTHWEST, 279, 380, -1060, -934), /* western Texas, the Panhandle, Oklahoma */
    SECTOR(DEL_RIO, "Del Rio", "DRT", SOUTHWEST, 270, 345, -1036, -970),
    SECTOR(EL_CENTRO, "El Centro", "ELC", SOUTHWEST, 316, 352, -1188, -1134), /* Imperial and Riverside counties */
    SECTOR(EL_PASO, "El Paso", "EPT", SOUTHWEST, 296, 380, -1101, -1020), /* New Mexico, El Paso and Hudspeth counties */
    SECTOR(LAREDO, "Laredo", "LRT", SOUTHWEST, 255, 350, -1015, -930),
    SECTOR(RIO_GRANDE_VALLEY, "Rio Grande Valley", "RGV", SOUTHWEST, 248, 317, -1003, -934),
    SECTOR(SAN_DIEGO, "San Diego", "SDC", SOUTHWEST, 315, 430, -1255, -1150), /* coastal California up to Oregon */
    SECTOR(TUCSON, "Tucson", "TCA", SOUTHWEST, 303, 380, -1158, -1080), /* Arizona */
    SECTOR(YUMA, "Yuma", "YUM", SOUTHWEST, 310, 430, -1210, -1115), /* western Arizona, eastern California, Nevada */
    SECTOR(BLAINE, "Blaine", "BLW", NORTHERN, 410, 724, -1800, -1155), /* western Washington, Oregon, Alaska */
    SECTOR(BUFFALO, "Buffalo", "BUN", NORTHERN, 355, 461, -847, -730), /* New York to Virginia */
    SECTOR(DETROIT, "Detroit", "DTM", NORTHERN, 359, 495, -925, -795), /* Michigan, Ohio, Indiana, Illinois */
    SECTOR(GRAND_FORKS, "Grand Forks", "GFN", NORTHERN, 349, 505, -1051, -858), /* the Dakotas to Missouri, Wisconsin */
    SECTOR(HAVRE, "Havre", "HVM", NORTHERN, 359, 501, -1171, -1010), /* Montana, Wyoming, Utah, Colorado */
    SECTOR(HOULTON, "Houlton", "HLT", NORTHERN, 420, 485, -721, -658), /* Maine */
    SECTOR(SPOKANE, "Spokane", "SPW", NORTHERN, 409, 501, -1226, -1100), /* eastern Washington, Idaho, western Montana */
    SECTOR(SWANTON, "Swanton", "SWB", NORTHERN, 416, 463, -773, -695), /* Vermont, New Hampshire, northern New York */
    SECTOR(MIAMI, "Miami", "MIP", OTHER, 233, 377, -887, -744), /* Florida, Georgia, the Carolinas */
    SECTOR(NEW_ORLEANS, "New Orleans", "NLL", OTHER, 278, 417, -969, -806), /* Gulf coast to Missouri and Kentucky */
    SECTOR(RAMEY, "Ramey", "RMY", OTHER, 166, 196, -690, -634), /* Puerto Rico, U.S. Virgin Islands */
    /* California to Texas */
    AREA(SOUTHWEST_FIELD_OFFICES, "Southwest field offices", "OFO", FIELD_OPERATIONS, SOUTHWEST, 248, 430, -1255, -925),
    OFFICE(EL_PASO, "El Paso", SOUTHWEST, 279, 380, -1101, -1010),
    OFFICE(LAREDO, "Laredo", SOUTHWEST, 248, 315, -1036, -955),
    OFFICE(SAN_DIEGO, "San Diego", SOUTHWEST, 315, 346, -1186, -1134),
    OFFICE(TUCSON, "Tucson", SOUTHWEST, 303, 380, -1158, -1080),
    OFFICE(BOSTON, "Boston", NORTHERN, 399, 485, -748, -658), /* New England */
    OFFICE(BUFFALO, "Buffalo", NORTHERN, 395, 461, -808, -708), /* New York */
    OFFICE(DETROIT, "Detroit", NORTHERN, 406, 493, -915, -811), /* Michigan */
    OFFICE(SEATTLE, "Seattle", NORTHERN, 409, 504, -1258, -884), /* Washington to Minnesota */
    OFFICE(ATLANTA, "Atlanta", OTHER, 292, 381, -915, -744), /* Alabama to the Carolinas */
    OFFICE(BALTIMORE, "Baltimore", OTHER, 355, 435, -847, -728), /* Virginia to Pennsylvania */
    OFFICE(CHICAGO, "Chicago", OTHER, 349, 504, -1151, -795), /* Midwest, Colorado, Utah */
    OFFICE(HOUSTON, "Houston", OTHER, 248, 380, -1077, -925), /* Texas, Oklahoma */
    OFFICE(LOS_ANGELES, "Los Angeles", OTHER, 315, 380, -1226, -1130), /* southern California, Las Vegas */
    OFFICE(MIAMI, "Miami", OTHER, 233, 320, -887, -788), /* Florida */
    OFFICE(NEW_ORLEANS, "New Orleans", OTHER, 278, 377, -957, -806), /* Louisiana to Tennessee */
    OFFICE(NEW_YORK, "New York", OTHER, 379, 425, -766, -708), /* New York City, New Jersey */
    OFFICE(PORTLAND, "Portland", OTHER, 409, 724, -1800, -1099), /* Oregon, Idaho, Alaska */
    OFFICE(PRECLEARANCE, "Preclearance", OTHER, -900, 900, -1800, 1800), /* airports abroad */
    OFFICE(SAN_FRANCISCO, "San Francisco", OTHER, 120, 430, -1800, 1800), /* with Hawaii, Guam */
    OFFICE(SAN_JUAN, "San Juan", OTHER, 166, 196, -690, -634),
    OFFICE(TAMPA, "Tampa", OTHER, 233, 320, -887, -788), /* Florida */
    /* clang-format on */
};
#define AREA_COUNT (sizeof areas / sizeof areas[0])

static int area_compare(const void *key, const void *element)
{
  int32_t value = *(const int32_t *)key;
  int32_t other = ((const struct vocabulary_area *)element)->value;
  return (value > other) - (value < other);
}

const struct vocabulary_area *vocabulary_area(int32_t value) { return bsearch(&value, areas, AREA_COUNT, sizeof areas[0], area_compare); }

const struct vocabulary_area *vocabulary_areas(size_t *count)
{
  *count = AREA_COUNT;
  return areas;
}

/* ---- the other columns of the data set ---- */

const char *vocabulary_component(int32_t value)
{
  switch (value) {
  case BORDER_PATROL: return "U.S. Border Patrol";
  case FIELD_OPERATIONS: return "Office of Field Operations";
  default: return NULL;
  }
}

const char *vocabulary_region(int32_t value)
{
  switch (value) {
  case NORTHERN: return "Northern Land Border";
  case SOUTHWEST: return "Southwest Land Border";
  case OTHER: return "Other";
  default: return NULL;
  }
}

const char *vocabulary_demographic(int32_t value)
{
  switch (value) {
  case MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_SINGLE_ADULTS: return "Single Adults";
  case MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_FMUA: return "FMUA";
  case MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_UC_SINGLE_MINORS: return "UC / Single Minors";
  case MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_ACCOMPANIED_MINORS: return "Accompanied Minors";
  default: return NULL;
  }
}

const char *vocabulary_title(int32_t value)
{
  switch (value) {
  case MUSTER__V1__TITLE_OF_AUTHORITY__TITLE_8: return "Title 8";
  case MUSTER__V1__TITLE_OF_AUTHORITY__TITLE_42: return "Title 42";
  default: return NULL;
  }
}

const char *vocabulary_type(int32_t value)
{
  switch (value) {
  case MUSTER__V1__ENCOUNTER_TYPE__ENCOUNTER_TYPE_APPREHENSIONS: return "Apprehensions";
  case MUSTER__V1__ENCOUNTER_TYPE__ENCOUNTER_TYPE_INADMISSIBLES: return "Inadmissibles";
  case MUSTER__V1__ENCOUNTER_TYPE__ENCOUNTER_TYPE_EXPULSIONS: return "Expulsions";
  default: return NULL;
  }
}

/* ---- citizenship ---- */

struct citizenship {
  char code[4];
  const char *name;
};

/* The 249 codes of ISO 3166-1 alpha-3 and the four of ICAO 9303-3 for persons without a nationality, ascending. The data set itself
 * names some twenty countries and sums up the rest as OTHER; the others are written in its manner: capitals, no accents. */
static const struct citizenship citizenships[] = {
    /* clang-format off */
    {"ABW", "ARUBA"}, {"AFG", "AFGHANISTAN"}, {"AGO", "ANGOLA"}, {"AIA", "ANGUILLA"}, {"ALA", "ALAND ISLANDS"}, {"ALB", "ALBANIA"},
    {"AND", "ANDORRA"}, {"ARE", "UNITED ARAB EMIRATES"}, {"ARG", "ARGENTINA"}, {"ARM", "ARMENIA"}, {"ASM", "AMERICAN SAMOA"},
    {"ATA", "ANTARCTICA"}, {"ATF", "FRENCH SOUTHERN TERRITORIES"}, {"ATG", "ANTIGUA AND BARBUDA"}, {"AUS", "AUSTRALIA"},
    {"AUT", "AUSTRIA"}, {"AZE", "AZERBAIJAN"}, {"BDI", "BURUNDI"}, {"BEL", "BELGIUM"}, {"BEN", "BENIN"},
    {"BES", "BONAIRE, SINT EUSTATIUS AND SABA"}, {"BFA", "BURKINA FASO"}, {"BGD", "BANGLADESH"}, {"BGR", "BULGARIA"}, {"BHR", "BAHRAIN"},
    {"BHS", "BAHAMAS"}, {"BIH", "BOSNIA AND HERZEGOVINA"}, {"BLM", "SAINT BARTHELEMY"}, {"BLR", "BELARUS"}, {"BLZ", "BELIZE"},
    {"BMU", "BERMUDA"}, {"BOL", "BOLIVIA"}, {"BRA", "BRAZIL"}, {"BRB", "BARBADOS"}, {"BRN", "BRUNEI"}, {"BTN", "BHUTAN"},
    {"BVT", "BOUVET ISLAND"}, {"BWA", "BOTSWANA"}, {"CAF", "CENTRAL AFRICAN REPUBLIC"}, {"CAN", "CANADA"},
    {"CCK", "COCOS (KEELING) ISLANDS"}, {"CHE", "SWITZERLAND"}, {"CHL", "CHILE"}, {"CHN", "CHINA, PEOPLES REPUBLIC OF"},
    {"CIV", "COTE D'IVOIRE"}, {"CMR", "CAMEROON"}, {"COD", "CONGO, DEMOCRATIC REPUBLIC OF THE"}, {"COG", "CONGO, REPUBLIC OF THE"},
    {"COK", "COOK ISLANDS"}, {"COL", "COLOMBIA"}, {"COM", "COMOROS"}, {"CPV", "CAPE VERDE"}, {"CRI", "COSTA RICA"}, {"CUB", "CUBA"},
    {"CUW", "CURACAO"}, {"CXR", "CHRISTMAS ISLAND"}, {"CYM", "CAYMAN ISLANDS"}, {"CYP", "CYPRUS"}, {"CZE", "CZECH REPUBLIC"},
    {"DEU", "GERMANY"}, {"DJI", "DJIBOUTI"}, {"DMA", "DOMINICA"}, {"DNK", "DENMARK"}, {"DOM", "DOMINICAN REPUBLIC"}, {"DZA", "ALGERIA"},
    {"ECU", "ECUADOR"}, {"EGY", "EGYPT"}, {"ERI", "ERITREA"}, {"ESH", "WESTERN SAHARA"}, {"ESP", "SPAIN"}, {"EST", "ESTONIA"},
    {"ETH", "ETHIOPIA"}, {"FIN", "FINLAND"}, {"FJI", "FIJI"}, {"FLK", "FALKLAND ISLANDS"}, {"FRA", "FRANCE"}, {"FRO", "FAROE ISLANDS"},
    {"FSM", "MICRONESIA, FEDERATED STATES OF"}, {"GAB", "GABON"}, {"GBR", "UNITED KINGDOM"}, {"GEO", "GEORGIA"}, {"GGY", "GUERNSEY"},
    {"GHA", "GHANA"}, {"GIB", "GIBRALTAR"}, {"GIN", "GUINEA"}, {"GLP", "GUADELOUPE"}, {"GMB", "GAMBIA"}, {"GNB", "GUINEA-BISSAU"},
    {"GNQ", "EQUATORIAL GUINEA"}, {"GRC", "GREECE"}, {"GRD", "GRENADA"}, {"GRL", "GREENLAND"}, {"GTM", "GUATEMALA"},
    {"GUF", "FRENCH GUIANA"}, {"GUM", "GUAM"}, {"GUY", "GUYANA"}, {"HKG", "HONG KONG"}, {"HMD", "HEARD ISLAND AND MCDONALD ISLANDS"},
    {"HND", "HONDURAS"}, {"HRV", "CROATIA"}, {"HTI", "HAITI"}, {"HUN", "HUNGARY"}, {"IDN", "INDONESIA"}, {"IMN", "ISLE OF MAN"},
    {"IND", "INDIA"}, {"IOT", "BRITISH INDIAN OCEAN TERRITORY"}, {"IRL", "IRELAND"}, {"IRN", "IRAN"}, {"IRQ", "IRAQ"}, {"ISL", "ICELAND"},
    {"ISR", "ISRAEL"}, {"ITA", "ITALY"}, {"JAM", "JAMAICA"}, {"JEY", "JERSEY"}, {"JOR", "JORDAN"}, {"JPN", "JAPAN"},
    {"KAZ", "KAZAKHSTAN"}, {"KEN", "KENYA"}, {"KGZ", "KYRGYZSTAN"}, {"KHM", "CAMBODIA"}, {"KIR", "KIRIBATI"},
    {"KNA", "SAINT KITTS AND NEVIS"}, {"KOR", "KOREA, SOUTH"}, {"KWT", "KUWAIT"}, {"LAO", "LAOS"}, {"LBN", "LEBANON"}, {"LBR", "LIBERIA"},
    {"LBY", "LIBYA"}, {"LCA", "SAINT LUCIA"}, {"LIE", "LIECHTENSTEIN"}, {"LKA", "SRI LANKA"}, {"LSO", "LESOTHO"}, {"LTU", "LITHUANIA"},
    {"LUX", "LUXEMBOURG"}, {"LVA", "LATVIA"}, {"MAC", "MACAU"}, {"MAF", "SAINT MARTIN, FRENCH PART"}, {"MAR", "MOROCCO"},
    {"MCO", "MONACO"}, {"MDA", "MOLDOVA"}, {"MDG", "MADAGASCAR"}, {"MDV", "MALDIVES"}, {"MEX", "MEXICO"}, {"MHL", "MARSHALL ISLANDS"},
    {"MKD", "NORTH MACEDONIA"}, {"MLI", "MALI"}, {"MLT", "MALTA"}, {"MMR", "MYANMAR (BURMA)"}, {"MNE", "MONTENEGRO"}, {"MNG", "MONGOLIA"},
    {"MNP", "NORTHERN MARIANA ISLANDS"}, {"MOZ", "MOZAMBIQUE"}, {"MRT", "MAURITANIA"}, {"MSR", "MONTSERRAT"}, {"MTQ", "MARTINIQUE"},
    {"MUS", "MAURITIUS"}, {"MWI", "MALAWI"}, {"MYS", "MALAYSIA"}, {"MYT", "MAYOTTE"}, {"NAM", "NAMIBIA"}, {"NCL", "NEW CALEDONIA"},
    {"NER", "NIGER"}, {"NFK", "NORFOLK ISLAND"}, {"NGA", "NIGERIA"}, {"NIC", "NICARAGUA"}, {"NIU", "NIUE"}, {"NLD", "NETHERLANDS"},
    {"NOR", "NORWAY"}, {"NPL", "NEPAL"}, {"NRU", "NAURU"}, {"NZL", "NEW ZEALAND"}, {"OMN", "OMAN"}, {"PAK", "PAKISTAN"},
    {"PAN", "PANAMA"}, {"PCN", "PITCAIRN"}, {"PER", "PERU"}, {"PHL", "PHILIPPINES"}, {"PLW", "PALAU"}, {"PNG", "PAPUA NEW GUINEA"},
    {"POL", "POLAND"}, {"PRI", "PUERTO RICO"}, {"PRK", "KOREA, NORTH"}, {"PRT", "PORTUGAL"}, {"PRY", "PARAGUAY"}, {"PSE", "PALESTINE"},
    {"PYF", "FRENCH POLYNESIA"}, {"QAT", "QATAR"}, {"REU", "REUNION"}, {"ROU", "ROMANIA"}, {"RUS", "RUSSIA"}, {"RWA", "RWANDA"},
    {"SAU", "SAUDI ARABIA"}, {"SDN", "SUDAN"}, {"SEN", "SENEGAL"}, {"SGP", "SINGAPORE"},
    {"SGS", "SOUTH GEORGIA AND THE SOUTH SANDWICH ISLANDS"}, {"SHN", "SAINT HELENA, ASCENSION AND TRISTAN DA CUNHA"},
    {"SJM", "SVALBARD AND JAN MAYEN"}, {"SLB", "SOLOMON ISLANDS"}, {"SLE", "SIERRA LEONE"}, {"SLV", "EL SALVADOR"}, {"SMR", "SAN MARINO"},
    {"SOM", "SOMALIA"}, {"SPM", "SAINT PIERRE AND MIQUELON"}, {"SRB", "SERBIA"}, {"SSD", "SOUTH SUDAN"}, {"STP", "SAO TOME AND PRINCIPE"},
    {"SUR", "SURINAME"}, {"SVK", "SLOVAKIA"}, {"SVN", "SLOVENIA"}, {"SWE", "SWEDEN"}, {"SWZ", "ESWATINI"},
    {"SXM", "SINT MAARTEN, DUTCH PART"}, {"SYC", "SEYCHELLES"}, {"SYR", "SYRIA"}, {"TCA", "TURKS AND CAICOS ISLANDS"}, {"TCD", "CHAD"},
    {"TGO", "TOGO"}, {"THA", "THAILAND"}, {"TJK", "TAJIKISTAN"}, {"TKL", "TOKELAU"}, {"TKM", "TURKMENISTAN"}, {"TLS", "TIMOR-LESTE"},
    {"TON", "TONGA"}, {"TTO", "TRINIDAD AND TOBAGO"}, {"TUN", "TUNISIA"}, {"TUR", "TURKEY"}, {"TUV", "TUVALU"}, {"TWN", "TAIWAN"},
    {"TZA", "TANZANIA"}, {"UGA", "UGANDA"}, {"UKR", "UKRAINE"}, {"UMI", "UNITED STATES MINOR OUTLYING ISLANDS"}, {"URY", "URUGUAY"},
    {"USA", "UNITED STATES"}, {"UZB", "UZBEKISTAN"}, {"VAT", "HOLY SEE"}, {"VCT", "SAINT VINCENT AND THE GRENADINES"},
    {"VEN", "VENEZUELA"}, {"VGB", "VIRGIN ISLANDS, BRITISH"}, {"VIR", "VIRGIN ISLANDS, U.S."}, {"VNM", "VIETNAM"}, {"VUT", "VANUATU"},
    {"WLF", "WALLIS AND FUTUNA"}, {"WSM", "SAMOA"}, {"XXA", "STATELESS PERSON"}, {"XXB", "REFUGEE, 1951 CONVENTION"},
    {"XXC", "REFUGEE, OTHER"}, {"XXX", "UNSPECIFIED NATIONALITY"}, {"YEM", "YEMEN"}, {"ZAF", "SOUTH AFRICA"}, {"ZMB", "ZAMBIA"},
    {"ZWE", "ZIMBABWE"},
    /* clang-format on */
};
#define CITIZENSHIP_COUNT (sizeof citizenships / sizeof citizenships[0])

#define LETTERS 26u
static uint64_t citizenship_bits[(LETTERS * LETTERS * LETTERS + 63) / 64];
static pthread_once_t citizenship_once = PTHREAD_ONCE_INIT;

/* The place of three capital letters in the table of bits; UINT32_MAX for anything else. */
static uint32_t citizenship_place(const uint8_t code[3])
{
  uint32_t a = code[0] - (uint32_t)'A', b = code[1] - (uint32_t)'A', c = code[2] - (uint32_t)'A';
  return a < LETTERS && b < LETTERS && c < LETTERS ? (a * LETTERS + b) * LETTERS + c : UINT32_MAX;
}

static void citizenship_fill(void)
{
  for (size_t i = 0; i < CITIZENSHIP_COUNT; i++) {
    uint32_t place = citizenship_place((const uint8_t *)citizenships[i].code);
    citizenship_bits[place / 64] |= UINT64_C(1) << place % 64;
  }
}

bool vocabulary_citizenship_known(const uint8_t code[3])
{
  pthread_once(&citizenship_once, citizenship_fill);
  uint32_t place = citizenship_place(code);
  return place != UINT32_MAX && (citizenship_bits[place / 64] >> place % 64 & 1);
}

static int citizenship_compare(const void *key, const void *element) { return memcmp(key, ((const struct citizenship *)element)->code, 3); }

const char *vocabulary_citizenship(const uint8_t code[3])
{
  const struct citizenship *c = bsearch(code, citizenships, CITIZENSHIP_COUNT, sizeof citizenships[0], citizenship_compare);
  return c ? c->name : "";
}

/* ---- reasons and verdicts ---- */

struct reason {
  uint32_t value;
  const char *sentence;
};

#define REASON(symbol, sentence)                                                                                                           \
  {                                                                                                                                        \
    MUSTER__V1__REASON__REASON_##symbol, sentence                                                                                          \
  }

/* Ascending by value. proto/README.md has the same numbers with what to do about each. */
static const struct reason reasons[] = {
    /* clang-format off */
    REASON(NONE, "nothing is wrong"),
    REASON(MALFORMED, "the bytes are not a protobuf message: a length, a tag or a varint is broken"),
    REASON(WIRE_TYPE, "a field has another wire type than its definition says"),
    REASON(BAD_UTF8, "a text is not valid UTF-8"),
    REASON(CONTROL_CHARACTER, "a text contains a control character or a NUL"),
    REASON(RECORD_TOO_LARGE, "the record is larger than 16,384 bytes"),
    REASON(TOO_MANY_UNKNOWN_BYTES, "the fields that this node does not know take more than 4,096 bytes"),
    REASON(MISSING_FIELD, "a required field is missing or has its UNSPECIFIED value"),
    REASON(ID_LENGTH, "an id is not exactly 16 bytes long"),
    REASON(ID_NIL_OR_MAX, "an id is all zeros or all ones, which RFC 9562 reserves"),
    REASON(UNKNOWN_ENUM_VALUE, "an enum field has a number that this node does not know"),
    REASON(TEXT_TOO_LONG, "a text is longer than 64 bytes"),
    REASON(TIME_IN_FUTURE, "the encounter lies further in the future than the node allows; check the submitting system's clock"),
    REASON(TIME_TOO_EARLY, "the encounter lies before the earliest year that the node takes; check the unit, which is microseconds"),
    REASON(CITIZENSHIP, "citizenship is neither an ISO 3166-1 alpha-3 code nor one of the ICAO 9303 codes XXA, XXB, XXC, XXX"),
    REASON(COORDINATE_MISSING, "one of latitude and longitude is given without the other"),
    REASON(COORDINATE_RANGE, "a coordinate is outside 90 degrees of latitude or 180 degrees of longitude"),
    REASON(COORDINATE_OUTSIDE_AREA, "the coordinates lie outside the bounding box of the area of responsibility"),
    REASON(AREA_OF_OTHER_COMPONENT, "the area of responsibility belongs to the other component"),
    REASON(AREA_OF_OTHER_REGION, "the area of responsibility belongs to another land border region"),
    REASON(TYPE_OF_OTHER_COMPONENT, "apprehensions come from the Border Patrol, inadmissibles from the Office of Field Operations"),
    REASON(EXPULSION_NEEDS_TITLE_42, "an expulsion is possible under Title 42 only"),
    REASON(TITLE_42_NEEDS_EXPULSION, "an encounter under Title 42 must be an expulsion"),
    REASON(FAMILY_UNIT_MISSING, "an individual in a family unit needs a family_unit_id"),
    REASON(KILLED_WORKER, "a worker process died twice over this record, which was set aside unread"),
    REASON(CONFLICT, "another record with the same encounter_id and other content is stored already"),
    REASON(BATCH_FRAMES, "the message has not the number of frames that its kind needs"),
    REASON(BATCH_HEADER, "the first frame is not a header message, or lacks a field that its kind needs"),
    REASON(BATCH_VERSION, "the message is of another major version of the protocol"),
    REASON(BATCH_EMPTY, "the batch has no records"),
    REASON(BATCH_TOO_MANY_RECORDS, "the batch has more than 10,000 records"),
    REASON(BATCH_TOO_MANY_BYTES, "the second frame is larger than 4 MiB"),
    REASON(BATCH_COUNT, "record_count of the header is not the number of records in the second frame"),
    REASON(BATCH_STREAM, "the second frame is not a delimited stream: a length prefix is broken or goes past the end"),
    REASON(BUSY_BUDGET, "the node's memory budget for batches is used up"),
    REASON(BUSY_CREDIT, "more batches are in flight than this submitter has credit for"),
    REASON(BUSY_DRAINING, "the node is stopping and takes nothing new"),
    REASON(BUSY_DISK, "free disk space is below the node's watermark"),
    REASON(BUSY_SHARD_DOWN, "the worker of this shard is not serving at the moment"),
    REASON(BUSY_MEMORY, "the node's memory for its index is used up"),
    REASON(RETRY_OUTCOME_UNKNOWN, "the worker did not answer in time, so whether the record is stored is not known"),
    /* clang-format on */
};

/* The bounds that counters and tables of reasons are made with. */
static_assert(MUSTER__V1__REASON__REASON_CONFLICT < LIMIT_RECORD_REASONS, "reasons of a record are below 100");
static_assert(MUSTER__V1__REASON__REASON_BATCH_FRAMES >= LIMIT_RECORD_REASONS, "reasons of a batch are not of a record");
static_assert(MUSTER__V1__REASON__REASON_RETRY_OUTCOME_UNKNOWN < LIMIT_REASONS, "every reason has a place in the counters");

static int reason_compare(const void *key, const void *element)
{
  uint32_t value = *(const uint32_t *)key;
  uint32_t other = ((const struct reason *)element)->value;
  return (value > other) - (value < other);
}

/* The name of a value as the .proto file has it, without the enum's prefix. */
static const char *enum_name(const ProtobufCEnumDescriptor *descriptor, uint32_t value, const char *prefix)
{
  const ProtobufCEnumValue *v = value <= INT32_MAX ? protobuf_c_enum_descriptor_get_value(descriptor, (int)value) : NULL;
  return v ? v->name + strlen(prefix) : "unknown";
}

const char *vocabulary_reason(uint32_t reason) { return enum_name(&muster__v1__reason__descriptor, reason, "REASON_"); }

const char *vocabulary_reason_sentence(uint32_t reason)
{
  const struct reason *r = bsearch(&reason, reasons, sizeof reasons / sizeof reasons[0], sizeof reasons[0], reason_compare);
  return r ? r->sentence : "unknown";
}

const char *vocabulary_verdict(uint32_t verdict) { return enum_name(&muster__v1__verdict__descriptor, verdict, "VERDICT_"); }
