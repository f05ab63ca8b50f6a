/* SPDX-License-Identifier: MIT */
#include "net/ssdp.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

size_t ssdp_write_search(char out[SSDP_SEARCH_MAX], const char *host)
{
	/* Version 1: a device of a later version answers to it as well. MX in seconds: the device
	 * waits for up to that, so the least there is. */
	int size = snprintf(out, SSDP_SEARCH_MAX,
	                    "M-SEARCH * HTTP/1.1\r\n"
	                    "HOST: %s\r\n"
	                    "MAN: \"ssdp:discover\"\r\n"
	                    "MX: 1\r\n"
	                    "ST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n\r\n",
	                    host);

	CV_ASSERT(size > 0 && size < SSDP_SEARCH_MAX);
	return (size_t)size;
}

/* The next line of [*at, end) without its end; false at the end of the head. */
static bool next_line(const char **at, const char *end, const char **line, size_t *size)
{
	const char *newline = memchr(*at, '\n', (size_t)(end - *at));

	if (!newline)
		return false;
	*line = *at;
	*size = (size_t)(newline - *at);
	*at = newline + 1;
	if (*size > 0 && (*line)[*size - 1] == '\r')
		(*size)--;
	return *size > 0;
}

static bool is_url_text(const char *text, size_t size)
{
	if (size == 0 || size >= SSDP_URL_MAX)
		return false;
	for (size_t i = 0; i < size; i++) {
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	}
	return true;
}

bool ssdp_read_answer(const uint8_t *bytes, size_t size, char url[SSDP_URL_MAX])
{
	static const char status[] = "HTTP/1.1 200", name[] = "location:";
	const char *at = (const char *)bytes, *end = at + size, *line;
	size_t line_size;

	if (!next_line(&at, end, &line, &line_size) || line_size < sizeof(status) - 1 ||
	    memcmp(line, status, sizeof(status) - 1) != 0)
		return false;
	while (next_line(&at, end, &line, &line_size)) {
		if (line_size < sizeof(name) - 1 || strncasecmp(line, name, sizeof(name) - 1) != 0)
			continue;
		line += sizeof(name) - 1;
		line_size -= sizeof(name) - 1;
		for (; line_size > 0 && (*line == ' ' || *line == '\t'); line_size--)
			line++;
		while (line_size > 0 && (line[line_size - 1] == ' ' || line[line_size - 1] == '\t'))
			line_size--;
		if (!is_url_text(line, line_size))
			return false;
		memcpy(url, line, line_size);
		url[line_size] = '\0';
		return true;
	}
	return false;
}

bool ssdp_is_at(const char *url, const struct addr *host)
{
	static const char scheme[] = "http://";
	char text[ADDR_TEXT_MAX];
	size_t size;

	if (host->family != ADDR_V4 || strncasecmp(url, scheme, sizeof(scheme) - 1) != 0)
		return false;
	url += sizeof(scheme) - 1;
	size = strlen(addr_format_ip(host, text));
	if (strncmp(url, text, size) != 0)
		return false;
	url += size;
	if (*url == ':') {
		for (url++; *url >= '0' && *url <= '9'; url++)
			;
	}
	return *url == '/' || *url == '\0';
}
