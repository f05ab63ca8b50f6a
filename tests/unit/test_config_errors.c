/* SPDX-License-Identifier: MIT */

/*
 * Goal: whatever is wrong with a file, its first line of complaint names the
 * place and says what was expected, word for word. Method: one bad file a row,
 * with the line as a user sees it (less the file's name).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "config/config.h"

#define K1 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define K2 "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="

struct row {
	const char *what;
	const char *text;
	const char *first; /* after "culvert.yaml:" */
};

static const struct row rows[] = {
	{ "unknown key with a suggestion",
	  "identity: id.key\n"
	  "forwrads: []\n",
	  "2:1: unknown key 'forwrads' (did you mean 'forwards'?)" },
	{ "unknown key without one",
	  "identity: id.key\n"
	  "xylophone: 1\n",
	  "2:1: unknown key 'xylophone'" },
	{ "unknown key inside a peer",
	  "identity: id.key\n"
	  "peers:\n"
	  "  home:\n"
	  "    key: " K1 "\n"
	  "    alow: [ '*:80' ]\n",
	  "5:5: unknown key 'alow' (did you mean 'allow'?)" },
	{ "unknown key inside a proxy",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "proxies:\n"
	  "  - listen: 1080\n"
	  "    peer: home\n"
	  "    user: {}\n",
	  "6:5: unknown key 'user' (did you mean 'users'?)" },
	{ "unknown key inside the server",
	  "identity: id.key\n"
	  "server: { access: anyone, rely: {} }\n",
	  "2:27: unknown key 'rely' (did you mean 'relay'?)" },
	{ "swapped letters",
	  "identity: id.key\n"
	  "lsiten: 0\n",
	  "2:1: unknown key 'lsiten' (did you mean 'listen'?)" },
	{ "a key of another case",
	  "identity: id.key\n"
	  "Listen: 0\n",
	  "2:1: unknown key 'Listen' (did you mean 'listen'?)" },
	{ "an empty key",
	  "identity: id.key\n"
	  "'': 0\n",
	  "2:1: unknown key ''" },
	{ "duplicate key",
	  "identity: id.key\n"
	  "identity: other.key\n",
	  "2:1: duplicate key 'identity' (first on line 1)" },
	{ "duplicate peer",
	  "identity: id.key\n"
	  "peers:\n"
	  "  home: { key: " K1 " }\n"
	  "  home: { key: " K2 " }\n",
	  "4:3: duplicate key 'home' (first on line 3)" },
	{ "the file is a list", "- identity\n",
	  "1:1: expected a mapping of keys to values, found a list" },
	{ "the file is a word", "identity\n",
	  "1:1: expected a mapping of keys to values, found a single value" },
	{ "identity missing", "peers: {}\n",
	  " 'identity' is missing: the private key file that culvert keygen writes" },
	{ "an empty file", "",
	  " 'identity' is missing: the private key file that culvert keygen writes" },
	{ "identity is a list", "identity: [ a ]\n",
	  "1:11: 'identity': expected the path of a key file, or credential:NAME, fou"
	  "nd a list" },
	{ "identity is nothing", "identity:\n",
	  "1:10: 'identity': expected the path of a key file, or credential:NAME, fou"
	  "nd nothing" },
	{ "peers is a list",
	  "identity: id.key\n"
	  "peers: [ home ]\n",
	  "2:8: 'peers': expected a mapping from names, found a list" },
	{ "a peer is a word",
	  "identity: id.key\n"
	  "peers: { home: " K1 " }\n",
	  "2:16: 'peers': expected a mapping of keys to values, found a single value" },
	{ "a peer without a key",
	  "identity: id.key\n"
	  "peers:\n"
	  "  home: { address: a.example }\n",
	  "3:3: a peer needs 'key' (a public key, 44 characters of base64)" },
	{ "a peer that is nothing",
	  "identity: id.key\n"
	  "peers:\n"
	  "  home:\n",
	  "3:3: a peer needs 'key' (a public key, 44 characters of base64)" },
	{ "a peer's name is no label",
	  "identity: id.key\n"
	  "peers:\n"
	  "  Home: { key: " K1 " }\n",
	  "3:3: 'peers': expected a name of 1 to 63 of a-z, 0-9 and '-', found 'Home'" },
	{ "a peer's name has a dot",
	  "identity: id.key\n"
	  "peers:\n"
	  "  a.b: { key: " K1 " }\n",
	  "3:3: 'peers': expected a name of 1 to 63 of a-z, 0-9 and '-', found 'a.b'" },
	{ "a short public key",
	  "identity: id.key\n"
	  "peers: { home: { key: c2hvcnQ= } }\n",
	  "2:23: 'key': expected a public key, 44 characters of base64, found 8 chara"
	  "cters" },
	{ "a key of 44 characters that is none",
	  "identity: id.key\n"
	  "peers: { home: { key: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB= } }\n",
	  "2:23: 'key': expected a public key, 44 characters of base64, found 44 char"
	  "acters that are no key" },
	{ "a key of 45 characters",
	  "identity: id.key\n"
	  "peers: { home: { key: A" K1 " } }\n",
	  "2:23: 'key': expected a public key, 44 characters of base64, found 45 char"
	  "acters" },
	{ "two peers with one key",
	  "identity: id.key\n"
	  "peers:\n"
	  "  home: { key: " K1 " }\n"
	  "  work: { key: " K1 " }\n",
	  "4:16: the same key as peer 'home' (line 3)" },
	{ "an unknown path policy",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 ", path: "
	  "fast } }\n",
	  "2:75: 'path': expected auto | direct | relay, found 'fast'" },
	{ "an address with a bad port",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 ", addres"
	  "s: 'a.example:65536' } }\n",
	  "2:78: 'address': expected HOST or HOST:PORT, found 'a.example:65536': a po"
	  "rt is a number from 0 to 65535" },
	{ "an address with port 0",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 ", addres"
	  "s: 'a.example:0' } }\n",
	  "2:78: 'address': expected a port from 1 to 65535, found 0" },
	{ "an address that is only a port",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 ", addres"
	  "s: 28583 } }\n",
	  "2:78: 'address': expected HOST or HOST:PORT, found '28583'" },
	{ "an address that is a unix path",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 ", addres"
	  "s: 'unix:/a' } }\n",
	  "2:78: 'address': expected HOST or HOST:PORT, found 'unix:/a'" },
	{ "an address with a bad name",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 ", addres"
	  "s: 'a b:1' } }\n",
	  "2:78: 'address': expected HOST or HOST:PORT, found 'a b:1': the host is ne"
	  "ither an address nor a valid name" },
	{ "an allow pattern without ports",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 ", allow:"
	  " [ 127.0.0.1 ] } }\n",
	  "2:78: 'allow': expected HOST:PORTS, HOST:PORTS/udp or unix:/path, found '1"
	  "27.0.0.1': ports are missing: HOST:PORTS, or HOST:* for every port" },
	{ "an allow pattern with port 0",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 ", allow:"
	  " [ '127.0.0.1:0' ] } }\n",
	  "2:78: 'allow': expected HOST:PORTS, HOST:PORTS/udp or unix:/path, found '1"
	  "27.0.0.1:0': ports are *, or numbers and ranges from 1 to 65535" },
	{ "an allow pattern with port 65536",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 ", allow:"
	  " [ '127.0.0.1:65536' ] } }\n",
	  "2:78: 'allow': expected HOST:PORTS, HOST:PORTS/udp or unix:/path, found '1"
	  "27.0.0.1:65536': ports are *, or numbers and ranges from 1 to 65535" },
	{ "a range backwards",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 ", allow:"
	  " [ '*:90-80' ] } }\n",
	  "2:78: 'allow': expected HOST:PORTS, HOST:PORTS/udp or unix:/path, found '*"
	  ":90-80': a range of ports begins with the smaller one" },
	{ "a network of 33 bits",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 ", allow:"
	  " [ '10.0.0.0/33:80' ] } }\n",
	  "2:78: 'allow': expected HOST:PORTS, HOST:PORTS/udp or unix:/path, found '1"
	  "0.0.0.0/33:80': a network's length is 0 to 32 for IPv4, 0 to 128 for IPv6" },
	{ "a comma inside [ ]",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 ", allow:"
	  " [ 10.0.0.0/8:80,443 ] } }\n",
	  "2:92: 'allow': expected HOST:PORTS, HOST:PORTS/udp or unix:/path, found '4"
	  "43': ports are missing: HOST:PORTS, or HOST:* for every port (a value with"
	  " a comma inside [ ] needs quotes)" },
	{ "an unquoted address in brackets",
	  "identity: id.key\n"
	  "listen: [::1]:1080\n"
	  "log: {}\n",
	  "2:9: an address in [ ] needs quotes, as in \"[::1]:1080\"" },
	{ "an unquoted network in brackets",
	  "identity: id.key\n"
	  "peers:\n"
	  "  home:\n"
	  "    key: " K1 "\n"
	  "    allow:\n"
	  "      - [fd00::/8]:22\n",
	  "6:9: an address in [ ] needs quotes, as in \"[::1]:1080\"" },
	{ "the same inside [ ]",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 ", allow:"
	  " [ [fd00::/8]:22 ] } }\n",
	  "2:78: a key must be text; an address in [ ] needs quotes, as in \"[::1]:10"
	  "80\"" },
	{ "an unquoted leading *",
	  "identity: id.key\n"
	  "peers:\n"
	  "  home:\n"
	  "    key: " K1 "\n"
	  "    allow:\n"
	  "      - *.lan:*\n",
	  "6:9: a value that starts with '*' needs quotes" },
	{ "an alias",
	  "identity: id.key\n"
	  "listen: *port\n",
	  "2:9: aliases are not supported; a value that starts with '*' needs quotes" },
	{ "an anchor",
	  "identity: id.key\n"
	  "listen: &port 0\n",
	  "2:9: anchors are not supported; a value that starts with '&' needs quotes" },
	{ "a tag",
	  "identity: id.key\n"
	  "listen: !!int 0\n",
	  "2:9: tags are not supported; a value that starts with '!' needs quotes" },
	{ "a merge",
	  "identity: id.key\n"
	  "log: { <<: { level: info } }\n",
	  "2:8: merge keys are not supported" },
	{ "a second document",
	  "identity: id.key\n"
	  "---\n"
	  "identity: id.key\n",
	  "2:1: a second document; a file holds one" },
	{ "an open quote", "identity: \"id.key\n", "1:11: the quote opened here is never closed" },
	{ "an open bracket",
	  "identity: id.key\n"
	  "listen: [ 1, 2\n",
	  "2:9: while parsing a flow sequence: did not find expected ',' or ']'" },
	{ "a tab that indents",
	  "identity: id.key\n"
	  "log:\n"
	  "\tlevel: info\n",
	  "3:1: a tab cannot indent or separate; use spaces" },
	{ "two colons", "identity: a: b\n",
	  "1:12: a second ':' here; check the indentation, or quote a value that hold"
	  "s ': '" },
	{ "wrong indentation",
	  "identity: id.key\n"
	  "log:\n"
	  "  level: info\n"
	  " format: text\n",
	  "4:2: while parsing a block mapping: did not find expected key" },
	{ "an unquoted @", "identity: @id\n",
	  "1:11: a value that starts with this character needs quotes" },
	{ "a key that is a list",
	  "identity: id.key\n"
	  "? [ a ]\n"
	  ": b\n",
	  "2:3: a key must be text; an address in [ ] needs quotes, as in \"[::1]:108"
	  "0\"" },
	{ "too deep",
	  "identity: id.key\n"
	  "log: [[[[[[[[[]]]]]]]]]\n",
	  "2:13: nested more than 8 levels deep" },
	{ "a control character",
	  "identity: id.key\n"
	  "log: \001\n",
	  "2:6: a control character" },
	{ "invalid UTF-8", "identity: a\377\n", "1:12: not UTF-8 text" },
	{ "an overlong form", "identity: \300\257\n", "1:11: not UTF-8 text" },
	{ "UTF-16", "\377\376i\000d\000", "1:1: UTF-16; the file must be UTF-8 text" },
	{ "a lone carriage return", "identity: a\rlog: {}\n",
	  "1:12: a carriage return that ends no line" },
	{ "an unusual line break",
	  "identity: id.key\n"
	  "# \342\200\250\n",
	  "2:3: an unusual line break; use plain newlines" },
	{ "a line break in a value",
	  "identity: \"a\\n"
	  "b\"\n",
	  "1:11: 'identity': a control character or line break in the value" },
	{ "listen on port 65536",
	  "identity: id.key\n"
	  "listen: 65536\n",
	  "2:9: 'listen': expected a port or HOST:PORT, found '65536': a port is a nu"
	  "mber from 0 to 65535" },
	{ "listen on a negative port",
	  "identity: id.key\n"
	  "listen: -1\n",
	  "2:9: 'listen': expected a port or HOST:PORT, found '-1': a port is missing"
	  ": HOST:PORT" },
	{ "listen with a leading zero",
	  "identity: id.key\n"
	  "listen: 01080\n",
	  "2:9: 'listen': expected a port or HOST:PORT, found '01080': a port is a nu"
	  "mber from 0 to 65535" },
	{ "the tunnel on a unix path",
	  "identity: id.key\n"
	  "listen: unix:/a\n",
	  "2:9: 'listen': the tunnel cannot listen on a unix path" },
	{ "a proxy on a name",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "proxies: [ { listen: 'host.example:1080', peer: home } ]\n",
	  "3:22: 'listen': a listener needs an address or localhost, not the name 'ho"
	  "st.example'" },
	{ "a proxy on *",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "proxies: [ { listen: '*:1080', peer: home } ]\n",
	  "3:22: 'listen': expected HOST:PORT, a port, or unix:/path, found '*:1080':"
	  " every address is 0.0.0.0 and [::]" },
	{ "a proxy on a relative unix path",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "proxies: [ { listen: 'unix:a', peer: home } ]\n",
	  "3:22: 'listen': expected HOST:PORT, a port, or unix:/path, found 'unix:a':"
	  " the path of a unix socket must be absolute" },
	{ "a proxy on a unix path of 108 bytes",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "proxies: [ { listen: 'unix:/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', peer: home"
	  " } ]\n",
	  "3:22: 'listen': expected HOST:PORT, a port, or unix:/path, found 'unix:/aa"
	  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa': the path of a unix socket has at most 10"
	  "7 bytes" },
	{ "a proxy without listen",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "proxies:\n"
	  "  - peer: home\n",
	  "4:5: a proxy needs 'listen' (HOST:PORT, a port, or unix:/path)" },
	{ "a proxy without a peer",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "proxies:\n"
	  "  - listen: 1080\n",
	  "4:5: a proxy needs 'peer' or 'routes'" },
	{ "a proxy is a word",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "proxies:\n"
	  "  - 1080\n",
	  "4:5: 'proxies': expected a mapping of keys to values, found a single value" },
	{ "proxies is a mapping",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "proxies: { listen: 1080 }\n",
	  "3:10: 'proxies': expected a list, found a mapping" },
	{ "an open proxy that does not say so",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "proxies: [ { listen: '0.0.0.0:1080', peer: home } ]\n",
	  "3:22: anybody who reaches 0.0.0.0:1080 could use this proxy: set 'users', "
	  "or say 'open: true'" },
	{ "the same with users of nothing",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "proxies:\n"
	  "  - listen: '[::]:1080'\n"
	  "    peer: home\n"
	  "    users: {}\n",
	  "4:13: anybody who reaches [::]:1080 could use this proxy: set 'users', or "
	  "say 'open: true'" },
	{ "open is no word but true or false",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "proxies: [ { listen: 1080, peer: home, open: yes } ]\n",
	  "3:46: 'open': expected true or false, found 'yes'" },
	{ "an empty password",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "proxies:\n"
	  "  - listen: 1080\n"
	  "    peer: home\n"
	  "    users: { alice: '' }\n",
	  "6:21: 'users': an empty password is refused" },
	{ "a password with a comma, without quotes",
	  "identity: id.key\n"
	  "proxies:\n"
	  "  - listen: 1080\n"
	  "    routes: []\n"
	  "    users: { alice: a,b }\n",
	  "3:5: a proxy needs 'peer' or 'routes'" },
	{ "a user's name with a colon",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "proxies:\n"
	  "  - listen: 1080\n"
	  "    peer: home\n"
	  "    users: { 'a:b': c }\n",
	  "6:21: 'users': a user's name has 1 to 255 bytes and no colon" },
	{ "an unknown peer",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "proxies: [ { listen: 1080, peer: hoem } ]\n",
	  "3:34: unknown peer 'hoem' (did you mean 'home'?)" },
	{ "an unknown peer that is like none",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "forwards: [ { listen: 1, peer: office, to: 2 } ]\n",
	  "3:32: unknown peer 'office'" },
	{ "an unknown peer of a route",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "proxies:\n"
	  "  - listen: 1080\n"
	  "    routes: [ { to: '*', peer: hom } ]\n",
	  "5:32: unknown peer 'hom' (did you mean 'home'?)" },
	{ "a route with a port",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "proxies:\n"
	  "  - listen: 1080\n"
	  "    routes: [ { to: 'a.example:80', peer: home } ]\n",
	  "5:21: 'to': expected a name, *.suffix, address, network or *, found 'a.exa"
	  "mple:80': the host is neither an address, a network nor a valid name" },
	{ "one place for two proxies",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "proxies:\n"
	  "  - { listen: 1080, peer: home }\n"
	  "  - { listen: 'localhost:1080', peer: home }\n",
	  "5:15: localhost:1080 is listened on twice (first on line 4)" },
	{ "one place for a proxy and a forward",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "proxies: [ { listen: '127.0.0.1:80', peer: home } ]\n"
	  "forwards: [ { listen: 80, peer: home, to: 80 } ]\n",
	  "4:23: 80 is listened on twice (first on line 3)" },
	{ "a forward without a target",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "forwards:\n"
	  "  - { listen: 80, peer: home }\n",
	  "4:5: a forward needs 'to' (HOST:PORT, a port, unix:/path or service:NAME)" },
	{ "a forward to port 0",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "forwards: [ { listen: 80, peer: home, to: 'a:0' } ]\n",
	  "3:43: 'to': expected a port from 1 to 65535, found 0" },
	{ "a forward to a numeric disguise",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "forwards: [ { listen: 80, peer: home, to: '0x7f.1:80' } ]\n",
	  "3:43: 'to': expected HOST:PORT, a port, unix:/path or service:NAME, found "
	  "'0x7f.1:80': the host is neither an address nor a valid name" },
	{ "an unknown protocol",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "forwards: [ { listen: 80, peer: home, to: 80, protocol: sctp } ]\n",
	  "3:57: 'protocol': expected tcp | udp, found 'sctp'" },
	{ "a size without a unit",
	  "identity: id.key\n"
	  "tunnel: { memory: 268435456 }\n",
	  "2:19: 'memory': expected a size with its unit, such as 64KiB, found '26843"
	  "5456'" },
	{ "a size with a wrong unit",
	  "identity: id.key\n"
	  "tunnel: { memory: 256Mib }\n",
	  "2:19: 'memory': expected a size with its unit, such as 64KiB, found '256Mi"
	  "b'" },
	{ "a size that is too small",
	  "identity: id.key\n"
	  "tunnel: { memory: 15MiB }\n",
	  "2:19: 'memory': expected a size from 16MiB to 1TiB, found '15MiB'" },
	{ "a size that is too large",
	  "identity: id.key\n"
	  "tunnel: { memory: 2000000TiB }\n",
	  "2:19: 'memory': expected a size from 16MiB to 1TiB, found '2000000TiB'" },
	{ "streams_max too large",
	  "identity: id.key\n"
	  "tunnel: { streams_max: 65537 }\n",
	  "2:24: 'streams_max': expected a whole number from 1 to 65536, found '65537"
	  "'" },
	{ "streams_max in hexadecimal",
	  "identity: id.key\n"
	  "tunnel: { streams_max: 0x10 }\n",
	  "2:24: 'streams_max': expected a whole number from 1 to 65536, found '0x10'" },
	{ "an unknown level",
	  "identity: id.key\n"
	  "log: { level: loud }\n",
	  "2:15: 'level': expected error | warn | info | debug, found 'loud'" },
	{ "a path that is another user's home",
	  "identity: id.key\n"
	  "state: ~root/x\n",
	  "2:8: 'state': only ~/ is known, not '~root/x'" },
	{ "a control path too long for a socket",
	  "identity: id.key\n"
	  "control: /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
	  "2:10: 'control': the path of a socket has at most 107 bytes, this one has "
	  "108" },
	{ "server without access",
	  "identity: id.key\n"
	  "server: {}\n",
	  "2:1: server needs 'access' (anyone or public keys, each 44 characters of b"
	  "ase64)" },
	{ "access is neither",
	  "identity: id.key\n"
	  "server: { access: everyone }\n",
	  "2:19: 'access': expected anyone or public keys, each 44 characters of base"
	  "64, found 8 characters" },
	{ "access is both",
	  "identity: id.key\n"
	  "server: { access: [ anyone, " K1 " ]"
	  " }\n",
	  "2:21: 'anyone' stands alone; with keys the list is what counts" },
	{ "a rate without a unit",
	  "identity: id.key\n"
	  "server: { access: anyone, relay: { rate: 50 } }\n",
	  "2:42: 'rate': expected a rate with its unit, such as 50Mbit, found '50'" },
	{ "a server's port without a next one",
	  "identity: id.key\n"
	  "server: { access: anyone, listen: 65535 }\n",
	  "2:35: the next port up is needed too, so 65534 is the last one" },
	{ "limits of 0",
	  "identity: id.key\n"
	  "server: { access: anyone, limits: { agents: 0 } }\n",
	  "2:45: 'agents': expected a whole number from 1 to 4194304, found '0'" },
	{ "a server without a key",
	  "identity: id.key\n"
	  "servers:\n"
	  "  - address: rv.example\n",
	  "3:5: a server needs 'key' (a public key, 44 characters of base64)" },
	{ "a port alone as a STUN server",
	  "identity: id.key\n"
	  "stun: [ 3478 ]\n",
	  "2:9: 'stun': expected HOST or HOST:PORT, found '3478'" },
	{ "a remote forward at nobody",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "remote_forwards: [ { listen: 1, peer: hom, to: 2 } ]\n",
	  "3:39: unknown peer 'hom' (did you mean 'home'?)" },
	{ "a remote forward to a service",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "remote_forwards: [ { listen: 1, peer: home, to: 'service:web' } ]\n",
	  "3:49: a remote forward leads to a target of this agent, which is named here, not by "
	  "service:NAME" },
	{ "two remote forwards at one place, of which one is a part of localhost",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "remote_forwards: [ { listen: 1, peer: home, to: 2 },\n"
	  "  { listen: \"[::1]:1\", peer: home, to: 3 } ]\n",
	  "4:13: [::1]:1 is listened on twice at peer 'home' (first on line 3)" },
	{ "a service that is a service",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "services: { web: { to: 'service:web', allow: home } }\n",
	  "3:24: a service leads to a target of this agent, which is named here, not by "
	  "service:NAME" },
	{ "a service for nobody known",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "services: { web: { to: 80, allow: [ home, work ] } }\n",
	  "3:43: unknown peer 'work'" },
	{ "a service twice",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "services: { web: { to: 80, allow: home }, web: { to: 81, allow: home } }\n",
	  "3:43: duplicate key 'web' (first on line 3)" },
	{ "a service that is no label",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "services: { web.x: { to: 80, allow: home } }\n",
	  "3:13: 'services': expected a name of 1 to 63 of a-z, 0-9 and '-', found 'web.x'" },
	{ "a path at the peer that no socket can have",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "remote_forwards: [ { peer: home, to: 1, listen: "
	  "'unix:/"
	  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	  "xxxxxxxxxxxxxxxxxxx' } ]\n",
	  "3:49: 'listen': expected HOST:PORT, a port, or unix:/path, found "
	  "'unix:/"
	  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	  "xxxxxxxxxxxxxxxxxxx': the path of a unix socket has at most 107 bytes" },
	{ "a path of a service that no socket can have",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "services: { web: { allow: home, to: "
	  "'unix:/"
	  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	  "xxxxxxxxxxxxxxxxxxx' } }\n",
	  "3:37: 'to': expected HOST:PORT, a port, unix:/path or service:NAME, found "
	  "'unix:/"
	  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	  "xxxxxx': the path of a unix socket has at most 107 bytes" },
	{ "a listener of a peer by name",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 ", allow_listen: [ 'a.example:80' ] } }\n",
	  "2:85: a listener has an address, not a name: expected an address, a network, localhost, "
	  "* "
	  "or unix:/path before the ports, found 'a.example:80'" },
	{ "udp by a unix socket",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "forwards: [ { listen: 'unix:/a', peer: home, to: 53, protocol: udp } ]\n",
	  "3:23: 'protocol: udp' needs an address: unix sockets are for tcp" },
	{ "udp to a unix socket",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "forwards: [ { listen: 53, peer: home, to: 'unix:/a', protocol: udp } ]\n",
	  "3:43: 'protocol: udp' needs a host and a port: unix sockets are for tcp" },
	{ "one place for two forwards of udp",
	  "identity: id.key\n"
	  "peers: { home: { key: " K1 " } }\n"
	  "forwards:\n"
	  "  - { listen: 53, peer: home, to: 53 }\n"
	  "  - { listen: 53, peer: home, to: 53, protocol: udp }\n"
	  "  - { listen: 53, peer: home, to: 54, protocol: udp }\n",
	  "6:15: 53 is listened on twice (first on line 5)" },
	{ "not yet: a sandbox that must be",
	  "identity: id.key\n"
	  "sandbox: required\n",
	  "2:10: 'sandbox: required' is not supported yet" },
	{ "another word for a server's stun",
	  "identity: id.key\n"
	  "server: { access: anyone, stun: on }\n",
	  "2:33: 'stun': expected off | padded | any, found 'on'" },
};

static void every_bad_file_is_refused_at_its_place(void **state)
{
	(void)state;
	assert_true(CV_ARRAY_SIZE(rows) >= 60);
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		struct config *c = NULL;
		struct report report;
		char *printed = NULL;
		char *wanted = NULL;
		size_t size = 0;
		FILE *out = open_memstream(&printed, &size);

		assert_non_null(out);
		report_init(&report, "culvert.yaml");
		print_message("%s\n", rows[i].what);
		assert_int_equal(config_parse("culvert.yaml", rows[i].text, strlen(rows[i].text),
		                              CONFIG_ROLE_AGENT, &report, &c),
		                 -EINVAL);
		assert_null(c);
		report_print(&report, REPORT_ERROR, out);
		assert_int_equal(fclose(out), 0);
		assert_true(asprintf(&wanted, "culvert.yaml:%s", rows[i].first) > 0);
		printed[strcspn(printed, "\n")] = '\0';
		assert_string_equal(printed, wanted);
		free(printed);
		free(wanted);
		report_deinit(&report);
		assert_int_equal(cv_alloc_live(), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_bad_file_is_refused_at_its_place),
	};

	return cmocka_run_group_tests_name("config_errors", tests, NULL, NULL);
}
