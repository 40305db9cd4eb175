/*
 * The vocabulary of the public data set "Nationwide Encounters" beside the record's enum values: the names as published,
 * the areas with their component, region and bounding box, and the citizenships with their ISO 3166-1 alpha-3 code (and
 * the ICAO 9303-3 codes XXA, XXB, XXC, XXX). Constant tables; any process.
 */
#ifndef MUSTER_PROTO_VOCABULARY_H
#define MUSTER_PROTO_VOCABULARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vocabulary_area {
  int32_t value;                                /* Muster__V1__AreaOfResponsibility */
  const char *name;                             /* "Big Bend Sector" */
  const char *abbreviation;                     /* "BBT" */
  int32_t component;                            /* the one it belongs to */
  int32_t region;                               /* the land border region it belongs to */
  int32_t south_e7, north_e7, west_e7, east_e7; /* generous box around it; source in vocabulary.c */
};
const struct vocabulary_area *vocabulary_area(int32_t value); /* NULL where unknown or unspecified */
const struct vocabulary_area *vocabulary_areas(size_t *count);

/* The published name of an enum value; NULL where unknown. */
const char *vocabulary_component(int32_t value);   /* "U.S. Border Patrol" */
const char *vocabulary_region(int32_t value);      /* "Southwest Land Border" */
const char *vocabulary_demographic(int32_t value); /* "Single Adults" */
const char *vocabulary_title(int32_t value);       /* "Title 8" */
const char *vocabulary_type(int32_t value);        /* "Apprehensions" */

/* Citizenship by its three letters. */
bool vocabulary_citizenship_known(const uint8_t code[3]);  /* constant time: a table of 26^3 bits, made at first use */
const char *vocabulary_citizenship(const uint8_t code[3]); /* "GUATEMALA", as the data set writes it; "" where unknown */

/* Wire Reasons: its name without the prefix ("TIME_IN_FUTURE") and one sentence for people. "unknown" where there is none. */
const char *vocabulary_reason(uint32_t reason);
const char *vocabulary_reason_sentence(uint32_t reason);
const char *vocabulary_verdict(uint32_t verdict); /* "ACCEPTED" */

#endif
