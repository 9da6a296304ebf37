# Starts a project when this shell enters its folder, and stops it when the last shell has left. See docs/shell.md.
if [[ -o interactive ]]; then
    # What the prompt and the exit have in common: tells runner where the shell is, if that is news.
    __runner_tell() {
        emulate -L zsh
        # What another shell has exported (`setopt allexport`) says nothing about this one.
        [[ ${__runner_in-} == "$$:"* ]] || typeset -g __runner_in=$$:
        [[ $__runner_in == "$$:$1" ]] && return 0
        typeset -g __runner_in=$$:$1
        if [[ -n $1 ]]; then
            command @RUNNER@ shell enter --pid $$ -- "${1%?}" </dev/null || :
        else
            command @RUNNER@ shell leave --pid $$ </dev/null || :
        fi
        return 0
    }
    # Before each prompt. It starts no process while the folder of the project stays the same, or there is none.
    __runner_prompt() {
        emulate -L zsh
        local at=${PWD%/} found=
        while :; do
            if [[ -e $at/services.toml || -L $at/services.toml ]]; then
                # The full stop tells the root from nothing.
                found=${at:-/}.
                break
            fi
            [[ -z $at || $at -ef ${HOME:-/} ]] && break
            at=${at%/*}
        done
        __runner_tell "$found"
        return 0
    }
    __runner_exit() {
        __runner_tell ''
        return 0
    }
    # Not `chpwd`: a folder that is visited in the middle of a command line, or in a subshell, is not entered.
    typeset -ga precmd_functions zshexit_functions
    (( ${precmd_functions[(I)__runner_prompt]} )) || precmd_functions+=(__runner_prompt)
    (( ${zshexit_functions[(I)__runner_exit]} )) || zshexit_functions+=(__runner_exit)
fi
