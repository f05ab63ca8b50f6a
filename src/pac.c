/* SPDX-License-Identifier: MIT */
#include "pac.h"

#include <string.h>

/* As a JavaScript string. What a pattern holds is a name that was checked; nothing that could end
 * the string passes all the same. */
static void put_string(FILE *out, const char *dot, const char *text)
{
	(void)fprintf(out, "\"%s", dot);
	for (; *text; text++) {
		if (*text > ' ' && *text <= '~' && !strchr("\"\\<>&'", *text))
			(void)fputc(*text, out);
	}
	(void)fputc('"', out);
}

/* Names of the routes of one kind, "a", "b"; patterns of names keep their text. */
static void put_names(FILE *out, const struct config_proxy *proxy, enum pattern_kind kind,
                      const char *first)
{
	const char *comma = "";

	if (first) {
		put_string(out, "", first);
		comma = ", ";
	}
	for (size_t i = 0; proxy && i < proxy->route_count; i++) {
		const struct pattern *p = &proxy->routes[i].to.pattern;

		if (p->kind != kind)
			continue;
		(void)fputs(comma, out);
		put_string(out, kind == PATTERN_SUFFIX ? "." : "", p->text);
		comma = ", ";
	}
}

static bool has_everything(const struct config_proxy *proxy)
{
	for (size_t i = 0; proxy && i < proxy->route_count; i++) {
		if (proxy->routes[i].to.pattern.kind == PATTERN_ANY)
			return true;
	}
	return false;
}

void pac_write(FILE *out, const struct config_proxy *proxy, const char *address)
{
	(void)fputs("function FindProxyForURL(url, host) {\n", out);
	if (!proxy || !address) {
		(void)fputs("\treturn \"DIRECT\";\n}\n", out);
		return;
	}
	(void)fprintf(out, "\tvar proxy = \"PROXY %s; SOCKS5 %s\";\n", address, address);
	(void)fputs("\tvar names = [", out);
	put_names(out, proxy, PATTERN_NAME, NULL);
	(void)fputs("];\n\tvar suffixes = [", out);
	put_names(out, proxy, PATTERN_SUFFIX, ".culvert");
	(void)fprintf(out,
	              "];\n\tvar everything = %s;\n"
	              "\tvar i, tail;\n\n"
	              "\thost = host.toLowerCase();\n"
	              "\tif (host.charAt(host.length - 1) == \".\")\n"
	              "\t\thost = host.substring(0, host.length - 1);\n"
	              "\tif (everything)\n"
	              "\t\treturn proxy;\n"
	              "\tfor (i = 0; i < names.length; i++) {\n"
	              "\t\tif (host == names[i])\n"
	              "\t\t\treturn proxy;\n"
	              "\t}\n"
	              "\tfor (i = 0; i < suffixes.length; i++) {\n"
	              "\t\ttail = host.length - suffixes[i].length;\n"
	              "\t\tif (tail > 0 && host.substring(tail) == suffixes[i])\n"
	              "\t\t\treturn proxy;\n"
	              "\t}\n"
	              "\treturn \"DIRECT\";\n"
	              "}\n",
	              has_everything(proxy) ? "true" : "false");
}
