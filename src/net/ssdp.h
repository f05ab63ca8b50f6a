/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * ssdp - finding the description of one UPnP device: our gateway's. Pure: the sockets are upnp.c's.
 *
 * Everybody in a LAN may answer a search, and name any URL of the world as his description: what
 * is asked for later must lie at the gateway's own address (SSRF).
 *
 * Source: UPnP Device Architecture 1.1, 1.3.2 and 1.3.3.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"

enum {
	SSDP_PORT = 1900,
	SSDP_SEARCH_MAX = 256,
	SSDP_URL_MAX = 256, /* with the NUL */
};

/* A search for internet gateways, addressed to @host as its text ("239.255.255.250:1900"). Returns
 * its size. */
size_t ssdp_write_search(char out[SSDP_SEARCH_MAX], const char *host);
/**
 * ssdp_read_answer() - the URL of the description in an answer to a search
 * @bytes: the datagram; need not end with anything
 *
 * Return: true with @url; false: no answer with status 200, no LOCATION, or one that is longer
 * than SSDP_URL_MAX or holds what no URL does.
 */
CV_NODISCARD bool ssdp_read_answer(const uint8_t *bytes, size_t size, char url[SSDP_URL_MAX]);
/* True for http:// at the address @host as a literal, with any port and path; false for names,
 * other addresses, and whatever one parser might read otherwise than another ("@"). */
bool ssdp_is_at(const char *url, const struct addr *host);
