/*
 * Nanoseconds a record of what every record pays in the process that looks at it: the walk for the id, the scan, the
 * digest. A set of different records with all fields is made by protobuf-c, then each function goes over the set again
 * and again; the best round is printed, and beside it what protobuf-c's own unpack takes. A program of its own:
 *
 *     cc -O2 -std=c11 -D_GNU_SOURCE -I. -Iinclude -Ibuild/gen bench/micro/scan.c proto/scan.c proto/digest.c proto/text.c \
 *        build/gen/proto/encounter.pb-c.c -lprotobuf-c -o build/micro-scan && build/micro-scan
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/digest.h"
#include "proto/encounter.pb-c.h"
#include "proto/scan.h"

#define RECORDS 1024u /* together they fit the second-level cache, as a batch in work does */
#define RECORD_ROOM 512u
#define ROUNDS 400

static struct {
  uint8_t bytes[RECORD_ROOM];
  size_t size;
} records[RECORDS];

static uint64_t random_state = 42;
static uint64_t random_next(void)
{
  uint64_t z = (random_state += UINT64_C(0x9e3779b97f4a7c15));
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

static ProtobufCBinaryData id_make(uint8_t bytes[16])
{
  for (unsigned i = 0; i < 16; i++)
    bytes[i] = (uint8_t)random_next();
  return (ProtobufCBinaryData){.len = 16, .data = bytes};
}

static size_t record_make(uint8_t *out)
{
  Muster__V1__Encounter e = MUSTER__V1__ENCOUNTER__INIT;
  uint8_t id[16], subject[16], family[16];
  char citizenship[] = "GTM", station[64], device[64], officer[64];
  snprintf(station, sizeof station, "Rio Grande Valley, McAllen, station %llu", (unsigned long long)(random_next() % 100));
  snprintf(device, sizeof device, "field-tablet-of-the-intake-line-%08llx", (unsigned long long)random_next() % 100000);
  snprintf(officer, sizeof officer, "officer-reference-of-the-owning-system-%08llx", (unsigned long long)random_next() % 100000);
  e.encounter_id = id_make(id), e.subject_id = id_make(subject), e.family_unit_id = id_make(family);
  e.has_encounter_id = e.has_subject_id = e.has_family_unit_id = 1;
  e.has_encounter_time = 1, e.encounter_time = INT64_C(1601510400000000) + (int64_t)(random_next() % UINT64_C(31536000000000));
  e.has_component = 1, e.component = MUSTER__V1__COMPONENT__COMPONENT_US_BORDER_PATROL;
  e.has_area_of_responsibility = 1, e.area_of_responsibility = (Muster__V1__AreaOfResponsibility)(1 + random_next() % 9);
  e.has_land_border_region = 1, e.land_border_region = MUSTER__V1__LAND_BORDER_REGION__LAND_BORDER_REGION_SOUTHWEST;
  e.has_demographic = 1, e.demographic = (Muster__V1__Demographic)(1 + random_next() % 4);
  e.citizenship = citizenship;
  e.has_title_of_authority = 1, e.title_of_authority = MUSTER__V1__TITLE_OF_AUTHORITY__TITLE_8;
  e.has_encounter_type = 1, e.encounter_type = MUSTER__V1__ENCOUNTER_TYPE__ENCOUNTER_TYPE_APPREHENSIONS;
  e.has_latitude_e7 = 1, e.latitude_e7 = 260000000 + (int32_t)(random_next() % 70000000);
  e.has_longitude_e7 = 1, e.longitude_e7 = -980000000 - (int32_t)(random_next() % 180000000);
  e.station = station, e.device = device, e.officer_reference = officer;
  e.has_disposition = 1, e.disposition = (Muster__V1__Disposition)(1 + random_next() % 9);
  return muster__v1__encounter__pack(&e, out);
}

/* Each returns something that depends on its work. */
static uint64_t walk_id(const uint8_t *bytes, size_t size) { return scan_encounter_id(bytes, size)[0]; }
static uint64_t scan(const uint8_t *bytes, size_t size)
{
  struct encounter_view view;
  struct scan_fault fault;
  return scan_encounter(&view, bytes, size, &fault) ? view.present + view.canonical : 0;
}
static uint64_t scan_and_digest(const uint8_t *bytes, size_t size)
{
  struct encounter_view view;
  struct scan_fault fault;
  uint8_t digest[16] = {0};
  if (scan_encounter(&view, bytes, size, &fault))
    digest_content(digest, &view);
  return digest[0];
}
static uint64_t unpack(const uint8_t *bytes, size_t size)
{
  Muster__V1__Encounter *e = muster__v1__encounter__unpack(NULL, size, bytes);
  uint64_t result = (uint64_t)e->encounter_time;
  muster__v1__encounter__free_unpacked(e, NULL);
  return result;
}

static double now_ns(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double measure(uint64_t (*work)(const uint8_t *, size_t), int rounds)
{
  double best = 1e18;
  for (int round = 0; round < rounds; round++) {
    uint64_t sum = 0;
    double start = now_ns();
    for (unsigned i = 0; i < RECORDS; i++)
      sum += work(records[i].bytes, records[i].size);
    double spent = now_ns() - start;
    __asm__ volatile("" : : "r"(sum)); /* the work is wanted */
    if (spent < best)
      best = spent;
  }
  return best / RECORDS;
}

int main(void)
{
  size_t bytes = 0;
  for (unsigned i = 0; i < RECORDS; i++)
    bytes += records[i].size = record_make(records[i].bytes);
  double scanned = measure(scan, ROUNDS), digested = measure(scan_and_digest, ROUNDS);
  printf("%u records of %zu bytes on average, ns a record:\n", RECORDS, bytes / RECORDS);
  printf("  scan_encounter_id  %6.1f\n", measure(walk_id, ROUNDS));
  printf("  scan_encounter     %6.1f\n", scanned);
  printf("  digest_content     %6.1f\n", digested - scanned);
  printf("  protobuf-c unpack  %6.1f\n", measure(unpack, ROUNDS / 10));
  return 0;
}
