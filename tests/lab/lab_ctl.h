#pragma once
/* SPDX-License-Identifier: MIT */

/*
 * lab_ctl - the line protocol by which a test builds and changes its internet.
 *
 * One command a line, words separated by single spaces, options as key=value;
 * one line of answer: "ok", perhaps with key=value words, or "error" and why.
 *
 *   host NAME [mtu=N] [hosts=PATH] [resolv=PATH]     ok pid=N
 *   uplink NAME HOST interface=N [metric=N] [mtu=N]  one more interface of a host, a node itself
 *   nat NAME
 *   place NAME PARENT ADDRESS/PREFIX[,ADDRESS/PREFIX...]
 *   unplug NAME                     the interface goes down; place brings it up again
 *   set NAT key=value...            keys of struct lab_nat_config; "set internet hops=N"
 *   link NAME in|out|both key=value...    keys of struct lab_link_config
 *   reboot NAT [keep_ports]
 *   counters NAME                   ok with all counters; "internet" is a name too
 */

#include "lab_net.h"

enum {
	LAB_LINE_SIZE = 2048,
};

/**
 * lab_ctl_run() - carry out one command
 * @line:   without its newline; it is cut into words in place
 * @answer: LAB_LINE_SIZE bytes; a line without its newline
 *
 * Return: the index of a host that was added by it, or 0.
 */
uint16_t lab_ctl_run(struct lab_net *net, char *line, char *answer);
