# Starts a project when this shell enters its folder, and stops it when the last shell has left. See docs/shell.md.
case $- in *i*)
    # What the prompt and the exit have in common: tells runner where the shell is, if that is news.
    __runner_tell() {
        # What another shell has exported (`set -a`) says nothing about this one.
        [[ ${__runner_in-} == "$$:"* ]] || __runner_in=$$:
        [[ $__runner_in == "$$:$1" ]] && return 0
        __runner_in=$$:$1
        if [[ -n $1 ]]; then
            command @RUNNER@ shell enter --pid "$$" -- "${1%?}" </dev/null
        else
            command @RUNNER@ shell leave --pid "$$" </dev/null
        fi
        return 0
    }
    # Before each prompt. It starts no process while the folder of the project stays the same, or there is none.
    __runner_prompt() {
        local __runner_status=$? __runner_at=${PWD%/} __runner_found=
        while :; do
            if [[ -e $__runner_at/services.toml || -L $__runner_at/services.toml ]]; then
                # The full stop keeps a name that ends with a newline whole, and tells the root from nothing.
                __runner_found=${__runner_at:-/}.
                break
            fi
            [[ -z $__runner_at || $__runner_at -ef ${HOME:-/} ]] && break
            __runner_at=${__runner_at%/*}
        done
        __runner_tell "$__runner_found"
        return "$__runner_status"
    }
    __runner_exit() {
        local __runner_status=$?
        __runner_tell ''
        return "$__runner_status"
    }
    # What was there stays and sees the same `$?`; `&& :` keeps `set -e` from ending the shell over it.
    if [[ ${PROMPT_COMMAND[*]-} != *__runner_prompt* ]]; then
        PROMPT_COMMAND='__runner_prompt && :'${PROMPT_COMMAND:+$'\n'"$PROMPT_COMMAND"}
    fi
    __runner_chain() {
        local __runner_trap
        __runner_trap=$(trap -p EXIT) || :
        [[ $__runner_trap == *__runner_exit* ]] && return 0
        # `trap -- 'COMMAND' EXIT`, quoted by the shell itself.
        eval "set -- ${__runner_trap:-trap -- '' EXIT}"
        trap -- '__runner_exit && :'${3:+$'\n'"$3"} EXIT
    }
    __runner_chain
    unset -f __runner_chain
    ;;
esac
