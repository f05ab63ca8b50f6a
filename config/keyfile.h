/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * keyfile - private keys and pre-shared keys on disk: one line of base64, and
 * nobody but its owner can read or replace it.
 *
 * Knows files and permissions; nothing of curves. After OpenSSH's
 * sshkey_perm_ok() and safe_path(). A key in memory is the caller's to wipe.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base64.h"
#include "base/compiler.h"

enum { KEYFILE_WHY_MAX = 320 }; /* bytes of a message with its NUL */

/**
 * keyfile_read() - read a key, after every check of who else could have
 * @path: a path, or "credential:NAME" for NAME in $CREDENTIALS_DIRECTORY
 * @key:  receives 32 bytes; wipe with keyfile_wipe()
 * @why:  receives a sentence for the user on failure
 *
 * The file must be regular and no symbolic link, owned by the effective user or
 * root, and closed to group and others (in $CREDENTIALS_DIRECTORY a group may
 * read). No directory above it may be writable by others, unless it is sticky as
 * /tmp is. The content is 44 characters and at most one newline.
 *
 * Return: 0; -ENOENT and other errors of open(2); -EPERM for a failed check;
 *         -EINVAL for the content. @key is unchanged then.
 */
CV_NODISCARD int keyfile_read(const char *path, uint8_t key[KEY_SIZE], char why[KEYFILE_WHY_MAX]);

/**
 * keyfile_create() - write a new key file, mode 0600, synced
 *
 * An existing file (or dangling link) is never touched. What could not be written whole is removed
 * again.
 *
 * Return: 0; -EEXIST; another negative errno with *@why set.
 */
CV_NODISCARD int keyfile_create(const char *path, const uint8_t key[KEY_SIZE],
                                char why[KEYFILE_WHY_MAX]);

/* Content of a key file, as read from a pipe: 44 characters and at most one newline. 0 or -EINVAL.
 */
CV_NODISCARD int keyfile_parse(const char *text, size_t size, uint8_t key[KEY_SIZE]);

/* memset() that no optimiser removes. */
void keyfile_wipe(void *secret, size_t size);

/* True when users other than the owner and the group may read the open file @fd. */
bool keyfile_others_can_read(int fd);
