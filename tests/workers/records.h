/*
 * Good records for the tests of this room, and parts made of them. A record is chosen by number (its id) and content
 * (its device text), so that a test says "the same again" or "other content under a used id" with two small numbers.
 * Packed by protobuf-c, not by the code under test. Memory is the test's.
 */
#ifndef MUSTER_TESTS_WORKERS_RECORDS_H
#define MUSTER_TESTS_WORKERS_RECORDS_H

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/encounter.pb-c.h"
#include "proto/varint.h"

#define RECORD_TIME_US INT64_C(1614834367000008) /* 2021-03-04T05:06:07.000008Z */

struct record {
  uint8_t bytes[1024];
  size_t size;
};

static inline void record_id(uint8_t id[16], uint64_t number)
{
  memset(id, 0x11, 16);
  for (unsigned i = 0; i < 8; i++)
    id[15 - i] = (uint8_t)(number >> (8 * i));
  id[6] = 0x47;
  id[8] = 0x91; /* version 4; numbers below 2^56 stay apart */
}

/* Everything that change may want to spoil before it is packed. */
static inline struct record record_changed(uint64_t number, uint64_t content, void (*change)(Muster__V1__Encounter *))
{
  Muster__V1__Encounter e = MUSTER__V1__ENCOUNTER__INIT;
  struct record r;
  uint8_t id[16], subject[16];
  char device[64], country[] = "GTM";
  record_id(id, number);
  memset(subject, 0x22, sizeof subject);
  snprintf(device, sizeof device, "device-%" PRIu64, content);
  e.has_encounter_id = e.has_subject_id = true;
  e.encounter_id = (ProtobufCBinaryData){.len = 16, .data = id};
  e.subject_id = (ProtobufCBinaryData){.len = 16, .data = subject};
  e.has_encounter_time = true;
  e.encounter_time = RECORD_TIME_US;
  e.has_component = e.has_area_of_responsibility = e.has_land_border_region = e.has_demographic = e.has_title_of_authority =
      e.has_encounter_type = true;
  e.component = MUSTER__V1__COMPONENT__COMPONENT_US_BORDER_PATROL;
  e.area_of_responsibility = MUSTER__V1__AREA_OF_RESPONSIBILITY__AREA_TUCSON_SECTOR;
  e.land_border_region = MUSTER__V1__LAND_BORDER_REGION__LAND_BORDER_REGION_SOUTHWEST;
  e.demographic = MUSTER__V1__DEMOGRAPHIC__DEMOGRAPHIC_SINGLE_ADULTS;
  e.title_of_authority = MUSTER__V1__TITLE_OF_AUTHORITY__TITLE_8;
  e.encounter_type = MUSTER__V1__ENCOUNTER_TYPE__ENCOUNTER_TYPE_APPREHENSIONS;
  e.citizenship = country;
  e.device = device;
  if (change)
    change(&e);
  assert(muster__v1__encounter__get_packed_size(&e) <= sizeof r.bytes);
  r.size = muster__v1__encounter__pack(&e, r.bytes);
  return r;
}

static inline struct record record_make(uint64_t number, uint64_t content) { return record_changed(number, content, NULL); }

/* A change that breaks a rule: Inadmissibles do not come from the Border Patrol. */
static inline void record_inadmissible(Muster__V1__Encounter *e)
{
  e->encounter_type = MUSTER__V1__ENCOUNTER_TYPE__ENCOUNTER_TYPE_INADMISSIBLES;
}

/* The same record with an unusual but valid encoding: its first field, the encounter_id, comes last. */
static inline struct record record_turned(struct record r)
{
  struct record turned = {.size = r.size};
  memcpy(turned.bytes, r.bytes + 18, r.size - 18);
  memcpy(turned.bytes + r.size - 18, r.bytes, 18);
  return turned;
}

/* A part's stream while it is made. */
struct stream {
  uint8_t *bytes; /* of capacity bytes; the test's */
  size_t size, capacity;
  uint32_t count;
};

static inline void stream_add(struct stream *s, const void *bytes, size_t size)
{
  assert(s->size + size + VARINT_BYTES_MAX <= s->capacity);
  uint8_t *end = varint_write(s->bytes + s->size, size);
  memcpy(end, bytes, size);
  s->size = (size_t)(end - s->bytes) + size;
  s->count++;
}

static inline void stream_add_record(struct stream *s, struct record r) { stream_add(s, r.bytes, r.size); }

#endif
