# Starts a project when this shell enters its folder, and stops it when the last shell has left. See docs/shell.md.
if status is-interactive
    # What the prompt and the exit have in common: tells runner where the shell is, if that is news.
    function __runner_tell
        # What another shell has exported says nothing about this one.
        string match -q -- "$fish_pid:*" "$__runner_in"; or set -g __runner_in "$fish_pid:"
        test "$__runner_in" = "$fish_pid:$argv[1]"; and return 0
        set -g __runner_in "$fish_pid:$argv[1]"
        if test -n "$argv[1]"
            command @RUNNER@ shell enter --pid $fish_pid -- "$argv[1]" </dev/null
        else
            command @RUNNER@ shell leave --pid $fish_pid </dev/null
        end
    end
    # Not on each change of PWD: a folder that is visited in the middle of a command line, or by a function, is not entered.
    # It starts no process while the folder of the project stays the same, or there is none.
    function __runner_prompt --on-event fish_prompt
        set -l at $PWD
        set -l found
        while true
            set -l file $at/services.toml
            if test -e "$file" -o -L "$file"
                set found $at
                break
            end
            if test "$at" = / -o "$at" = "$HOME"
                break
            end
            set at (string replace -r '(?s)/[^/]*$' '' -- "$at" | string collect)
            test -n "$at"; or set at /
        end
        __runner_tell "$found"
    end
    function __runner_exit --on-event fish_exit
        __runner_tell ''
    end
end
