# SPDX-License-Identifier: MIT
# bash completion for culvert(1)

# Names of the peers of the running agent; nothing when there is none.
_culvert_peers()
{
	culvert status --json 2>/dev/null | awk '
		/"peers":/ { inside = 1 }
		/"listeners":/ { inside = 0 }
		inside && /"name":/ { gsub(/[",]/, ""); print $2 }'
}

_culvert()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local command=${COMP_WORDS[1]} options='-c --control --help'

	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		mapfile -t COMPREPLY < <(compgen -W \
			'keygen pubkey run server check status ping netcheck nc forward reload stop --help --version' -- "$cur")
		return
	fi
	case $prev in
	-c | --control)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	-n)
		return
		;;
	esac
	case $command in
	keygen) options="$options --psk" ;;
	status) options="$options --json --watch --server" ;;
	ping) options="$options -n" ;;
	netcheck) options="$options --json" ;;
	forward) options="$options --udp --list --remove --json" ;;
	reload | stop) options="$options --server" ;;
	esac
	case $cur in
	-*)
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
		return
		;;
	esac
	case $command in
	keygen | pubkey)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		;;
	ping | nc | forward)
		if [ "$COMP_CWORD" -eq 2 ]; then
			mapfile -t COMPREPLY < <(compgen -W "$(_culvert_peers)" -- "$cur")
		fi
		;;
	esac
}

complete -F _culvert culvert
