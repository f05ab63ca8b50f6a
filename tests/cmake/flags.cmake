# SPDX-License-Identifier: MIT
# The flags every target has; each with its reason.
add_library(culvert_flags INTERFACE)
target_compile_definitions(culvert_flags INTERFACE _GNU_SOURCE)

set(warnings
	-Wall -Wextra -Wpedantic            # the common sense of both compilers
	-Wshadow -Wredundant-decls -Wnested-externs     # one name, one thing
	-Wconversion -Wsign-conversion      # a width that changes is a bug or deserves a cast
	-Wcast-qual -Wpointer-arith -Wbad-function-cast
	-Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition
	-Wwrite-strings -Wundef -Wdate-time # reproducible builds
	-Wformat=2 -Wswitch-enum -Wimplicit-fallthrough
	-Wvla -Walloca                      # the stack is bounded
	-Wnull-dereference -Wdouble-promotion -Wfloat-equal -Wunused-macros)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
	list(APPEND warnings -Warith-conversion -Wcast-align=strict -Wduplicated-cond
		-Wduplicated-branches -Wlogical-op -Wformat-overflow=2 -Wformat-truncation=2
		-Wjump-misses-init -Wtrampolines -Walloc-zero
		# A test may lay out a whole world on its stack: set_target_properties(... CULVERT_TEST 1)
		$<$<NOT:$<BOOL:$<TARGET_PROPERTY:CULVERT_TEST>>>:-Wstack-usage=8192>)
else()
	list(APPEND warnings -Wcast-align -Wassign-enum -Wcomma -Wconditional-uninitialized
		-Wextra-semi-stmt -Wimplicit-int-conversion -Wshorten-64-to-32
		-Wmissing-variable-declarations -Wloop-analysis)
endif()
if(CULVERT_WERROR)
	list(APPEND warnings -Werror)
endif()
target_compile_options(culvert_flags INTERFACE ${warnings} -fno-strict-overflow)

if(CULVERT_FUZZ)
	if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
		message(FATAL_ERROR "CULVERT_FUZZ needs clang: libFuzzer is part of it")
	endif()
	set(CULVERT_SANITIZE ON)
	# Coverage in every layer; only the targets themselves link libFuzzer and its main().
	target_compile_options(culvert_flags INTERFACE -fsanitize=fuzzer-no-link)
	target_link_options(culvert_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

if(CULVERT_SANITIZE)
	# -O1 keeps stacks readable; a leak is a failure too.
	target_compile_options(culvert_flags INTERFACE -O1 -g -fno-omit-frame-pointer
		-fsanitize=address,undefined -fno-sanitize-recover=all)
	target_link_options(culvert_flags INTERFACE -fsanitize=address,undefined)
	target_compile_definitions(culvert_flags INTERFACE CULVERT_SANITIZED)
else()
	# Hardening after the OpenSSF guide; assertions stay on in release builds (no NDEBUG).
	target_compile_options(culvert_flags INTERFACE -O2 -g -U_FORTIFY_SOURCE
		-D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection -fPIE)
	if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|i.86")
		target_compile_options(culvert_flags INTERFACE -fcf-protection=full)
	endif()
	if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
		target_compile_options(culvert_flags INTERFACE -ftrivial-auto-var-init=zero)
	endif()
	target_link_options(culvert_flags INTERFACE -pie
		-Wl,-z,relro,-z,now -Wl,-z,noexecstack -Wl,--as-needed)
endif()
