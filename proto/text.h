/*
 * Texts of the protocol's values: ids as UUID text (RFC 9562), times as RFC 3339 UTC with microseconds, addresses as
 * SHARD:SEQUENCE. Pure functions on the caller's memory. Any process.
 */
#ifndef MUSTER_PROTO_TEXT_H
#define MUSTER_PROTO_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_UUID 37    /* "0190a5c2-....", 36 characters and the end */
#define TEXT_TIME 28    /* "2021-03-04T05:06:07.000008Z" and the end; years 0001 to 9999 */
#define TEXT_ADDRESS 32 /* "63:281474976710655" and the end */
#define TEXT_HEX128 33

void text_uuid(char out[TEXT_UUID], const uint8_t id[16]);
bool text_uuid_parse(uint8_t id[16], const char *text, size_t size);   /* upper or lower case; nothing before or behind */
bool text_time(char out[TEXT_TIME], int64_t time_us);                  /* false (and "") outside the years 0001 to 9999 */
bool text_time_parse(int64_t *time_us, const char *text, size_t size); /* any offset, up to 6 decimals; no leap second 60 */
void text_address(char out[TEXT_ADDRESS], uint32_t shard, uint64_t sequence);
bool text_address_parse(uint32_t *shard, uint64_t *sequence, const char *text); /* digits only; within the bits of a verdict word */
void text_hex128(char out[TEXT_HEX128], const uint8_t bytes[16]);
bool text_utf8_valid(const uint8_t *bytes, size_t size);    /* RFC 3629: no overlong forms, no surrogates, at most U+10FFFF */
size_t text_utf8_prefix(const uint8_t *bytes, size_t size); /* bytes of the longest valid beginning */
/* The civil day of a time: days since 1970-01-01 (negative before). */
int32_t text_day_of(int64_t time_us);
void text_civil_from_day(int32_t day, int32_t *year, uint32_t *month, uint32_t *day_of_month);
int32_t text_day_from_civil(int32_t year, uint32_t month, uint32_t day_of_month);

#endif
