/*
 * What the tests of the record share: a seeded source of numbers, records made at random with protobuf-c, and wire bytes
 * put together by hand, so that a test can write what no encoder would. Included by tests only; everything is on the
 * caller's memory.
 */
#ifndef MUSTER_TESTS_PROTO_SAMPLE_H
#define MUSTER_TESTS_PROTO_SAMPLE_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/encounter.pb-c.h"
#include "proto/varint.h"

/* ---- numbers ---- */

struct random {
  uint64_t state;
};

static inline uint64_t random_next(struct random *r)
{
  uint64_t z = (r->state += UINT64_C(0x9e3779b97f4a7c15));
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

static inline uint32_t random_below(struct random *r, uint32_t bound) { return (uint32_t)((random_next(r) >> 32) * bound >> 32); }

/* Of any width from 0 to 64 bits, so that every length of varint comes up. */
static inline uint64_t random_wide(struct random *r)
{
  uint32_t shift = random_below(r, 65);
  return shift == 64 ? 0 : random_next(r) >> shift;
}

/* MUSTER_SEED, or the given one; printed, so that a failure can be had again. */
static inline struct random random_seeded(const char *test, uint64_t seed)
{
  const char *text = getenv("MUSTER_SEED");
  if (text)
    seed = strtoull(text, NULL, 10);
  printf("%s: seed %llu (MUSTER_SEED)\n", test, (unsigned long long)seed);
  return (struct random){.state = seed};
}

/* ---- wire bytes by hand ---- */

#define WIRE_ROOM 20000u

struct wire {
  size_t size;
  uint8_t bytes[WIRE_ROOM];
};

static inline void wire_bytes(struct wire *w, const void *bytes, size_t size)
{
  assert(size <= WIRE_ROOM - w->size);
  if (size > 0)
    memcpy(w->bytes + w->size, bytes, size);
  w->size += size;
}

static inline void wire_byte(struct wire *w, uint8_t byte) { wire_bytes(w, &byte, 1); }

/* `bytes` long where that is more than the shortest form. */
static inline void wire_varint(struct wire *w, uint64_t value, unsigned bytes)
{
  uint8_t out[VARINT_BYTES_MAX];
  unsigned size = (unsigned)(varint_write(out, value) - out);
  wire_bytes(w, out, size);
  if (size >= bytes)
    return;
  w->bytes[w->size - 1] |= 0x80;
  for (; size + 1 < bytes; size++)
    wire_byte(w, 0x80);
  wire_byte(w, 0);
}

static inline void wire_tag(struct wire *w, uint32_t number, uint32_t wire_type) { wire_varint(w, (uint64_t)number << 3 | wire_type, 0); }

static inline void wire_number(struct wire *w, uint32_t number, uint64_t value)
{
  wire_tag(w, number, 0);
  wire_varint(w, value, 0);
}

static inline void wire_text(struct wire *w, uint32_t number, const void *bytes, size_t size)
{
  wire_tag(w, number, 2);
  wire_varint(w, size, 0);
  wire_bytes(w, bytes, size);
}

/* ---- records ---- */

/* What the pointers of a sample point to. */
struct sample_room {
  uint8_t id[3][16];
  char text[3][80];
  char citizenship[4];
};

static inline ProtobufCBinaryData sample_id(struct random *r, uint8_t room[16])
{
  for (unsigned i = 0; i < 16; i++)
    room[i] = (uint8_t)random_next(r);
  return (ProtobufCBinaryData){.len = 16, .data = room};
}

static inline char *sample_text(struct random *r, char room[80])
{
  static const char *const letters[] = {"a", "Z", "7", " ", "-", "é", "ñ", "Ж", "漢", "𐍈"};
  size_t size = random_below(r, 61);
  uint32_t kinds = random_below(r, 4) ? 5 : 10;
  room[0] = '\0';
  while (strlen(room) < size)
    strcat(room, letters[random_below(r, kinds)]);
  return room;
}

static inline int sample_enum(struct random *r, const ProtobufCEnumDescriptor *values)
{
  return values->values[random_below(r, values->n_values)].value;
}

/* Any field present with the chance of present_of_8 eighths. */
static inline void sample_encounter(Muster__V1__Encounter *e, struct sample_room *room, struct random *r, uint32_t present_of_8)
{
#define THERE (random_below(r, 8) < present_of_8)
#define SET(name, value)                                                                                                                   \
  do {                                                                                                                                     \
    if ((e->has_##name = THERE))                                                                                                           \
      e->name = (value);                                                                                                                   \
  } while (0)
  *e = (Muster__V1__Encounter)MUSTER__V1__ENCOUNTER__INIT;
  SET(encounter_id, sample_id(r, room->id[0]));
  SET(encounter_time, random_below(r, 4) ? INT64_C(1614834367000008) + random_below(r, 1u << 30) : (int64_t)random_wide(r));
  SET(component, (Muster__V1__Component)sample_enum(r, &muster__v1__component__descriptor));
  SET(area_of_responsibility, (Muster__V1__AreaOfResponsibility)sample_enum(r, &muster__v1__area_of_responsibility__descriptor));
  SET(land_border_region, (Muster__V1__LandBorderRegion)sample_enum(r, &muster__v1__land_border_region__descriptor));
  SET(demographic, (Muster__V1__Demographic)sample_enum(r, &muster__v1__demographic__descriptor));
  SET(title_of_authority, (Muster__V1__TitleOfAuthority)sample_enum(r, &muster__v1__title_of_authority__descriptor));
  SET(encounter_type, (Muster__V1__EncounterType)sample_enum(r, &muster__v1__encounter_type__descriptor));
  SET(subject_id, sample_id(r, room->id[1]));
  SET(family_unit_id, sample_id(r, room->id[2]));
  SET(latitude_e7, (int32_t)random_wide(r));
  SET(longitude_e7, (int32_t)random_wide(r));
  SET(disposition, (Muster__V1__Disposition)sample_enum(r, &muster__v1__disposition__descriptor));
  e->citizenship = THERE ? strcpy(room->citizenship, "GTM") : NULL;
  e->station = THERE ? sample_text(r, room->text[0]) : NULL;
  e->device = THERE ? sample_text(r, room->text[1]) : NULL;
  e->officer_reference = THERE ? sample_text(r, room->text[2]) : NULL;
#undef SET
#undef THERE
}

#define SAMPLE_BYTES_MAX 512u

/* A packed sample; out has SAMPLE_BYTES_MAX. */
static inline size_t sample_pack(uint8_t *out, struct random *r, uint32_t present_of_8)
{
  Muster__V1__Encounter e;
  struct sample_room room;
  sample_encounter(&e, &room, r, present_of_8);
  assert(muster__v1__encounter__get_packed_size(&e) <= SAMPLE_BYTES_MAX);
  return muster__v1__encounter__pack(&e, out);
}

#endif
