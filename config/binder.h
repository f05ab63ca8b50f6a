/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * binder - puts the values of a YAML tree where the schema says they go.
 *
 * Knows trees, the schema and the types of values; not what the values mean to
 * each other, which is config_validate()'s.
 */

#include "base/compiler.h"
#include "config/config.h"
#include "config/report.h"
#include "config/yaml_reader.h"

/**
 * binder_run() - fill @config from @tree, with defaults for what is not set
 * @config: zeroed, but for .file; what it points to is taken from its arena
 *
 * A value that is wrong is reported and left zero, so that the others can still
 * be looked at: with errors in the report, @config is for config_validate() only.
 *
 * Return: 0 (the report may have errors); -EINVAL when the file is no mapping at
 *         all; -ENOMEM.
 */
CV_NODISCARD int binder_run(const struct yaml_tree *tree, struct config *config,
                            struct report *report);
