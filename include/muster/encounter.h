/*
 * An encounter record as a flat struct, and its encoding: what a field system in C needs to make records without any protobuf
 * code. A whole program, which records one encounter and submits it to the endpoint of its first argument (a test compiles it as C and
 * as C++, and runs it):
 *
 *     #include <stdio.h>
 *     #include <sys/random.h>
 *     #include <time.h>
 *     #include <muster/client.h>
 *     static void verdict(void *context, const struct muster_verdict *v) { (void)context; puts(muster_verdict_name(v->verdict)); }
 *     int main(int argc, char **argv) {
 *       struct muster_encounter e = MUSTER_ENCOUNTER_INIT;
 *       if (getrandom(e.encounter_id, 16, 0) != 16 || getrandom(e.subject_id, 16, 0) != 16) return 1;
 *       e.encounter_id[6] = (e.encounter_id[6] & 0x0f) | 0x40; e.encounter_id[8] = (e.encounter_id[8] & 0x3f) | 0x80; // RFC 9562, version 4
 *       e.encounter_time_us = (int64_t)time(NULL) * 1000000;
 *       e.component = MUSTER_COMPONENT_US_BORDER_PATROL; e.area_of_responsibility = MUSTER_AREA_TUCSON_SECTOR;
 *       e.land_border_region = MUSTER_LAND_BORDER_REGION_SOUTHWEST; e.demographic = MUSTER_DEMOGRAPHIC_SINGLE_ADULTS;
 *       e.citizenship = "GTM"; e.title_of_authority = MUSTER_TITLE_8; e.encounter_type = MUSTER_ENCOUNTER_TYPE_APPREHENSIONS;
 *       e.latitude_e7 = 313404000; e.longitude_e7 = -1109342000; e.has_location = 1; e.station = "TCA-07";
 *       struct muster_options options = MUSTER_OPTIONS_INIT;
 *       struct muster_client *client; char error[MUSTER_ERROR_BYTES];
 *       options.endpoint = argc > 1 ? argv[1] : NULL; options.on_verdict = verdict;
 *       if (muster_client_create(&client, &options, error) != MUSTER_OK) return puts(error), 1;
 *       int status = muster_client_submit_encounter(client, &e, 1);
 *       if (status == MUSTER_OK) status = muster_client_flush(client, 30000);
 *       muster_client_destroy(client);
 *       return status == MUSTER_OK ? 0 : 1; }
 *
 * A record carries no name and no document number, only references that the owning system can resolve. Which fields a record
 * must have, and which values go together, is judged by the node, which answers with a verdict; here nothing is judged but sizes.
 * The fields, their numbers and the values are those of proto/encounter.proto, and a test holds them against it.
 */
#ifndef MUSTER_ENCOUNTER_H
#define MUSTER_ENCOUNTER_H

#include <stddef.h>
#include <stdint.h>

#include <muster/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- values: as in encounter.proto, with MUSTER_ before their names ---- */

enum muster_component {
  MUSTER_COMPONENT_UNSPECIFIED = 0,
  MUSTER_COMPONENT_US_BORDER_PATROL = 1,
  MUSTER_COMPONENT_OFFICE_OF_FIELD_OPERATIONS = 2
};

enum muster_land_border_region {
  MUSTER_LAND_BORDER_REGION_UNSPECIFIED = 0,
  MUSTER_LAND_BORDER_REGION_NORTHERN = 1,
  MUSTER_LAND_BORDER_REGION_SOUTHWEST = 2,
  MUSTER_LAND_BORDER_REGION_OTHER = 3
};

/* Border Patrol sectors are 1-99, field offices of the Office of Field Operations 100-199. proto/README.md has the table: the
 * component, the region and the box of coordinates of each. */
enum muster_area_of_responsibility {
  MUSTER_AREA_UNSPECIFIED = 0,
  /* Southwest sectors. */
  MUSTER_AREA_BIG_BEND_SECTOR = 1,
  MUSTER_AREA_DEL_RIO_SECTOR = 2,
  MUSTER_AREA_EL_CENTRO_SECTOR = 3,
  MUSTER_AREA_EL_PASO_SECTOR = 4,
  MUSTER_AREA_LAREDO_SECTOR = 5,
  MUSTER_AREA_RIO_GRANDE_VALLEY_SECTOR = 6,
  MUSTER_AREA_SAN_DIEGO_SECTOR = 7,
  MUSTER_AREA_TUCSON_SECTOR = 8,
  MUSTER_AREA_YUMA_SECTOR = 9,
  /* Northern sectors. */
  MUSTER_AREA_BLAINE_SECTOR = 20,
  MUSTER_AREA_BUFFALO_SECTOR = 21,
  MUSTER_AREA_DETROIT_SECTOR = 22,
  MUSTER_AREA_GRAND_FORKS_SECTOR = 23,
  MUSTER_AREA_HAVRE_SECTOR = 24,
  MUSTER_AREA_HOULTON_SECTOR = 25,
  MUSTER_AREA_SPOKANE_SECTOR = 26,
  MUSTER_AREA_SWANTON_SECTOR = 27,
  /* Coastal sectors. */
  MUSTER_AREA_MIAMI_SECTOR = 40,
  MUSTER_AREA_NEW_ORLEANS_SECTOR = 41,
  MUSTER_AREA_RAMEY_SECTOR = 42,
  /* Field offices. 100 stands for all of the southwest, as the published sector table has them in one row. */
  MUSTER_AREA_SOUTHWEST_FIELD_OFFICES = 100,
  MUSTER_AREA_EL_PASO_FIELD_OFFICE = 101,
  MUSTER_AREA_LAREDO_FIELD_OFFICE = 102,
  MUSTER_AREA_SAN_DIEGO_FIELD_OFFICE = 103,
  MUSTER_AREA_TUCSON_FIELD_OFFICE = 104,
  MUSTER_AREA_BOSTON_FIELD_OFFICE = 120,
  MUSTER_AREA_BUFFALO_FIELD_OFFICE = 121,
  MUSTER_AREA_DETROIT_FIELD_OFFICE = 122,
  MUSTER_AREA_SEATTLE_FIELD_OFFICE = 123,
  MUSTER_AREA_ATLANTA_FIELD_OFFICE = 140,
  MUSTER_AREA_BALTIMORE_FIELD_OFFICE = 141,
  MUSTER_AREA_CHICAGO_FIELD_OFFICE = 142,
  MUSTER_AREA_HOUSTON_FIELD_OFFICE = 143,
  MUSTER_AREA_LOS_ANGELES_FIELD_OFFICE = 144,
  MUSTER_AREA_MIAMI_FIELD_OFFICE = 145,
  MUSTER_AREA_NEW_ORLEANS_FIELD_OFFICE = 146,
  MUSTER_AREA_NEW_YORK_FIELD_OFFICE = 147,
  MUSTER_AREA_PORTLAND_FIELD_OFFICE = 148,
  MUSTER_AREA_PRECLEARANCE_FIELD_OFFICE = 149,
  MUSTER_AREA_SAN_FRANCISCO_FIELD_OFFICE = 150,
  MUSTER_AREA_SAN_JUAN_FIELD_OFFICE = 151,
  MUSTER_AREA_TAMPA_FIELD_OFFICE = 152
};

enum muster_demographic {
  MUSTER_DEMOGRAPHIC_UNSPECIFIED = 0,
  MUSTER_DEMOGRAPHIC_SINGLE_ADULTS = 1,
  MUSTER_DEMOGRAPHIC_FMUA = 2,             /* individual in a family unit */
  MUSTER_DEMOGRAPHIC_UC_SINGLE_MINORS = 3, /* unaccompanied children, single minors */
  MUSTER_DEMOGRAPHIC_ACCOMPANIED_MINORS = 4
};

enum muster_title_of_authority { MUSTER_TITLE_UNSPECIFIED = 0, MUSTER_TITLE_8 = 8, MUSTER_TITLE_42 = 42 };

enum muster_encounter_type {
  MUSTER_ENCOUNTER_TYPE_UNSPECIFIED = 0,
  MUSTER_ENCOUNTER_TYPE_APPREHENSIONS = 1,
  MUSTER_ENCOUNTER_TYPE_INADMISSIBLES = 2,
  MUSTER_ENCOUNTER_TYPE_EXPULSIONS = 3
};

enum muster_disposition {
  MUSTER_DISPOSITION_UNSPECIFIED = 0,
  MUSTER_DISPOSITION_PENDING = 1,
  MUSTER_DISPOSITION_NOTICE_TO_APPEAR = 2,
  MUSTER_DISPOSITION_EXPEDITED_REMOVAL = 3,
  MUSTER_DISPOSITION_REINSTATEMENT_OF_REMOVAL = 4,
  MUSTER_DISPOSITION_VOLUNTARY_RETURN = 5,
  MUSTER_DISPOSITION_WITHDRAWAL = 6,
  MUSTER_DISPOSITION_PAROLE = 7,
  MUSTER_DISPOSITION_TRANSFER = 8,
  MUSTER_DISPOSITION_TITLE_42_EXPULSION = 9
};

/* ---- the record ---- */

#define MUSTER_TEXT_BYTES 64       /* of a text, without its end */
#define MUSTER_ENCOUNTER_BYTES 512 /* no encoded encounter is larger */

/* One encounter: one meeting of one person with one field office or sector. What is 0 or NULL is left out of the record: numbers, ids
 * whose bytes are all 0, texts; a location where has_location is 0. Fields 1 to 10 are required by every node, family_unit_id for
 * individuals in a family unit. Texts are UTF-8 without control characters, end with NUL, and belong to the caller, who keeps them
 * for the call alone. */
struct muster_encounter {
  size_t size;                    /* sizeof(struct muster_encounter), set by MUSTER_ENCOUNTER_INIT; lets the library grow */
  uint8_t encounter_id[16];       /* 1: RFC 9562, network byte order; version 7 preferred, any but Nil and Max. Made once, when the
                                   * encounter is recorded: it is what makes a resend harmless */
  int64_t encounter_time_us;      /* 2: when it happened; microseconds since 1970-01-01T00:00:00Z, UTC, no leap seconds */
  int32_t component;              /* 3: enum muster_component, who met the person */
  int32_t area_of_responsibility; /* 4: enum muster_area_of_responsibility, the sector or field office; one of the component's */
  int32_t land_border_region;     /* 5: enum muster_land_border_region, the one that the area belongs to */
  int32_t demographic;            /* 6: enum muster_demographic */
  const char *citizenship;        /* 7: "GTM"; ISO 3166-1 alpha-3, or of ICAO 9303-3: XXA stateless, XXB and XXC refugee, XXX unspecified */
  int32_t title_of_authority;     /* 8: enum muster_title_of_authority, of the U.S. Code */
  int32_t encounter_type;         /* 9: enum muster_encounter_type */
  uint8_t subject_id[16];         /* 10: the person's pseudonym; only the owning system can resolve it */
  uint8_t family_unit_id[16];     /* 11: one value for all members of a family unit */
  int32_t latitude_e7;            /* 12: WGS 84, 1e-7 degrees, north positive: 313404000 is 31.3404 degrees north */
  int32_t longitude_e7;           /* 13: WGS 84, 1e-7 degrees, east positive */
  int32_t has_location;           /* 1: latitude_e7 and longitude_e7 are part of the record, whatever they are */
  int32_t disposition;            /* 17: enum muster_disposition, what was decided */
  const char *station;            /* 14: station or port of entry; at most MUSTER_TEXT_BYTES, as the next two */
  const char *device;             /* 15: what it was recorded with */
  const char *officer_reference;  /* 16: a reference of the owning system, no name */
};
#ifdef __cplusplus
#define MUSTER_ENCOUNTER_INIT                                                                                                              \
  []() -> muster_encounter {                                                                                                               \
    muster_encounter init = {};                                                                                                            \
    init.size = sizeof init;                                                                                                               \
    return init;                                                                                                                           \
  }()
#else
#define MUSTER_ENCOUNTER_INIT                                                                                                              \
  {                                                                                                                                        \
    .size = sizeof(struct muster_encounter)                                                                                                \
  }
#endif

/* Encodes in canonical form (fields ascending, shortest varints), so that equal encounters have equal bytes, and never writes past
 * room; MUSTER_ENCOUNTER_BYTES are always enough. *size receives the bytes written. MUSTER_ERR_LIMIT: a text, citizenship too, has more
 * than MUSTER_TEXT_BYTES; *size is 0. MUSTER_ERR_USAGE: the struct is not set up with MUSTER_ENCOUNTER_INIT, *size is 0; or room is
 * too small, *size is what is needed. Nothing is written then. An encounter in which nothing is set has 0 bytes, which no node takes. */
int muster_encounter_encode(const struct muster_encounter *encounter, void *out, size_t room, size_t *size);

#ifdef __cplusplus
}
#endif
#endif
