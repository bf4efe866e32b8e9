# shellcheck shell=bash
# Servers to save and to restore, one for each thing that can be lost. Sourced by run.sh, which sets
#   tm       a function: tmux on the private socket
#   PLACE    a directory for files, new for each server
#   CANARY   a directory in which nothing must ever appear
#
# tmux expands formats in the names and directories it is given: a hash is doubled where it is meant.
#
# Each line of FEATURES: the name of a function below, what of dump.py is compared, what it is in words.

# shellcheck disable=SC2034 # used by run.sh
FEATURES='
session_name|sessions|session name with spaces and quotes
session_name_code|sessions|session name #(command)
group|sessions windows group|grouped sessions
environment|environment|session environment
session_options|session_options|session options
index_gaps|windows|gaps between window indexes
base_index|windows session_options|base-index and renumber-windows of a session
window_name|window_name|window names with quotes, a tab, #{format}
window_name_code|window_name|window name #(command)
automatic_rename|automatic_rename window_name|automatic-rename on and off
layout|layout|layout of five panes
layout_detached|layout|layout of a size no client has
linked|windows link|linked windows
windows_active|window_active window_last|current and last window
window_options|window_options|window options
title|title|pane titles
title_quotes|title|pane titles with quotes
title_code|title|title #(command), set by an escape sequence
title_empty|title|empty pane title
cwd|directory|directory with spaces and quotes
cwd_gone|directory panes|deleted directory
cwd_newline|directory|directory with a newline
cwd_format|directory|directory #{format}
cwd_code|directory|directory #(command)
panes_active|pane_active pane_last|active and last pane
zoom|zoom layout|zoomed pane
marked|marked|marked pane
synchronised|synchronised|synchronised panes
pane_options|pane_options|pane options
user_options|session_options window_options pane_options|user options at each level
dead|dead text|dead pane with its text and status
scrollback|text|500 lines of scrollback with colours
arguments|program|arguments with spaces, quotes, a semicolon
pipeline|program|pipeline
script|program|interpreter with a script
nested|program|nested shells
background|program|background jobs
no_shell|program|program started without a shell
two_words|program|pager with a file name of two words
semicolon|program|pager with a file name holding a command
session_unicode|sessions|session name in Japanese and an emoji
session_dash|sessions windows|session name like an option
hidden_variable|hidden|hidden variable of a session
hooks|hooks|hook of a session
same_names|window_name windows|two windows of one name
window_unicode|window_name|window names of wide and combined characters
window_odd|window_name|window names like targets
window_empty|window_name|empty window name
many_windows|windows window_name|thirty windows
group_windows|windows group window_active|current windows of grouped sessions
linked_twice|windows link|window linked twice into one session
tiled|layout|layout of twelve tiled panes
title_style|title|pane title with a style and a format
cwd_unicode|directory|directory in Japanese and an emoji
cwd_bytes|directory|directory that is not UTF-8
cwd_dash|directory|directory like an option
odd_arguments|program|arguments that are empty, hold a newline, are not UTF-8
code_argument|program|interpreter with a script as an argument
both_jobs|program|job in front and job behind
text_code|text|text that holds commands
long_lines|text|lines longer than the pane
'

# A session of its own, in a window of the size of the client that run.sh attaches.
work() {
    tm new-session -d -s work -x 120 -y 39 -c "$PLACE" "$@"
    # -x and -y leave it behind.
    tm set-option -u -t work default-size
}

type_into() {
    tm send-keys -t "$1" -l -- "$2"
    tm send-keys -t "$1" Enter
}

session_name() { work; tm new-session -d -s "a b \"c\" it's" -x 120 -y 39; }
session_name_code() { work; tm new-session -d -s "x ##(touch $CANARY/session)" -x 120 -y 39; }

group() {
    work
    tm new-window -d -t work: -n second
    tm new-session -d -s mate -t work
}

environment() { work; tm set-environment -t work MINE 'a b;c'; tm set-environment -t work -r GONE; }

session_options() {
    work
    tm set-option -t work status-left 'mine #S'
    tm set-option -t work history-limit 4321
}

index_gaps() { work; tm new-window -d -t work:4; tm new-window -d -t work:9; }

base_index() {
    work
    tm set-option -t work base-index 3
    tm set-option -t work renumber-windows on
    tm new-window -d -t work:
}

window_name() {
    work -n "it's \"x\""
    tm new-window -d -t work: -n "$(printf 'tab\there')"
    tm new-window -d -t work: -n '##{pid}'
}

window_name_code() { work -n "##(touch $CANARY/window)"; }

automatic_rename() {
    work -n fixed
    tm new-window -d -t work: tail -f /dev/null
    tm set-option -w -t work:1 automatic-rename on
}

layout() {
    work
    tm split-window -d -h -l 40 -t work:0
    tm split-window -d -v -l 10 -t work:0.0
    tm split-window -d -h -l 17 -t work:0.0
    tm split-window -d -v -l 7 -t work:0.3
}

layout_detached() {
    work
    tm new-window -d -t work: -n wide
    tm resize-window -t work:1 -x 211 -y 57
    tm split-window -d -h -l 50 -t work:1
    tm split-window -d -v -l 9 -t work:1.1
}

linked() {
    work
    tm new-session -d -s other -x 120 -y 39
    tm new-window -d -t work:5 -n shared
    tm link-window -d -s work:5 -t other:7
}

windows_active() {
    work
    tm new-window -d -t work:; tm new-window -d -t work:; tm new-window -d -t work:
    tm select-window -t work:3; tm select-window -t work:1
}

window_options() {
    work
    tm set-option -w -t work:0 monitor-activity on
    tm set-option -w -t work:0 mode-keys vi
    tm set-option -w -t work:0 main-pane-width 33
}

title() {
    work
    tm split-window -d -t work:0
    tm select-pane -t work:0.0 -T 'a title'
    tm select-pane -t work:0.1 -T 'second'
}

title_quotes() { work; tm select-pane -t work:0.0 -T "it's \"x\""; }

title_code() { work "printf '\\033]2;#(touch $CANARY/title)\\007'; exec tail -f /dev/null"; }
title_empty() { work; tm select-pane -t work:0.0 -T ''; }

in_directory() {
    mkdir -p "$1"
    work
    tm new-window -d -t work: -c /
    type_into work:1 "cd $(printf %q "$1")"
}

cwd() { in_directory "$PLACE/a b/it's \"x\""; }
cwd_gone() {
    in_directory "$PLACE/gone"
    until [ "$(tm display-message -p -t work:1 '#{pane_current_path}')" = "$PLACE/gone" ]; do sleep 0.1; done
    rmdir "$PLACE/gone"
}
cwd_newline() { in_directory "$PLACE/"$'a\nb'; }
cwd_format() { in_directory "$PLACE/#{pid}"; }
cwd_code() { mkdir -p "$CANARY"; in_directory "$PLACE/#(cd $(printf '%s' "${CANARY##*/}"); touch cwd)"; }

panes_active() {
    work
    tm split-window -d -h -t work:0; tm split-window -d -v -t work:0.1
    tm select-pane -t work:0.2; tm select-pane -t work:0.1
}

zoom() { work; tm split-window -d -h -t work:0; tm select-pane -t work:0.1; tm resize-pane -Z -t work:0.1; }
marked() { work; tm split-window -d -h -t work:0; tm select-pane -m -t work:0.1; }
synchronised() { work; tm split-window -d -h -t work:0; tm set-option -w -t work:0 synchronize-panes on; }

pane_options() {
    work
    tm split-window -d -h -t work:0
    tm set-option -p -t work:0.1 window-style bg=colour17
    tm set-option -p -t work:0.1 remain-on-exit on
}

user_options() {
    work
    tm set-option -t work @mine "a b #{pid}"
    tm set-option -w -t work:0 @mine "it's"
    tm set-option -p -t work:0.0 @mine 'x;y'
}

dead() {
    work
    tm set-option -w -t work:0 remain-on-exit on
    tm split-window -d -t work:0 "echo last words; exit 3"
    until [ "$(tm display-message -p -t work:0.1 '#{pane_dead}')" = 1 ]; do sleep 0.1; done
}

scrollback() {
    work
    # shellcheck disable=SC2016 # a script for the pane
    printf 'for n in $(seq 500); do printf "\\033[3%%dmline %%d\\033[0m of it\\n" $((n %% 8)) $n; done\n' >"$PLACE/lines.sh"
    type_into work:0 "sh lines.sh"
    until tm capture-pane -p -t work:0 | grep -q 'line 500'; do sleep 0.1; done
}

arguments() {
    touch "$PLACE/a b" "$PLACE/it's \"x\"" "$PLACE/semi;colon"
    work
    type_into work:0 "tail -f 'a b' \"it's \\\"x\\\"\" 'semi;colon'"
}

pipeline() { work; type_into work:0 "tail -f /dev/null | cat -A | cat"; }

script() {
    printf 'import time\ntime.sleep(10000)\n' >"$PLACE/hold.py"
    work
    type_into work:0 'python3 hold.py "one two"'
}

nested() { work; type_into work:0 'sh'; type_into work:0 'bash --norc'; }
background() { work; type_into work:0 'tail -f /dev/null &'; }
no_shell() { work; tm split-window -d -t work:0 tail -f /dev/null; }
two_words() { echo x >"$PLACE/two words.txt"; work; type_into work:0 "less 'two words.txt'"; }

semicolon() {
    echo x >"$PLACE/x;cd ${CANARY##*/};touch pager"
    mkdir -p "$PLACE/${CANARY##*/}"
    work
    type_into work:0 "less 'x;cd ${CANARY##*/};touch pager'"
}

session_unicode() { work; tm new-session -d -s '日本 ✨' -x 120 -y 39; }
session_dash() { work; tm new-session -d -s -x -x 120 -y 39; }
hidden_variable() { work; tm set-environment -h -t work LATER 'a b'; }
hooks() { work; tm set-hook -t work after-new-window 'display-message "it is #{pid}; \"x\""'; }

same_names() {
    work -n same
    tm new-window -d -t work: -n same
    tm new-window -d -t work: -n other
}

window_unicode() { work -n '日本 ✨'; tm new-window -d -t work: -n $'e\u0301 ü'; }
window_odd() { work -n '@1'; tm new-window -d -t work: -n '=x'; tm new-window -d -t work: -n '{last}'; }
window_empty() { work; tm rename-window -t work:0 ''; }
many_windows() { work -n n0; for n in $(seq 1 29); do tm new-window -d -t work: -n "n$n"; done; }

group_windows() {
    work
    tm new-window -d -t work:; tm new-window -d -t work:
    tm new-session -d -s mate -t work
    tm select-window -t work:1; tm select-window -t mate:2
}

linked_twice() {
    work
    tm new-window -d -t work:5 -n shared
    tm link-window -d -s work:5 -t work:7
}

tiled() {
    work
    for _ in $(seq 11); do tm split-window -d -t work:0; tm select-layout -t work:0 tiled; done
}

title_style() { work; tm select-pane -t work:0.0 -T '##[fg=red]x ##{pid} a\b'; }
cwd_unicode() { in_directory "$PLACE/日本 ✨"; }
cwd_bytes() { in_directory "$PLACE/"$'a\xffb'; }

cwd_dash() {
    mkdir -p "$PLACE/-c"
    work
    tm new-window -d -t work: -c /
    type_into work:1 "cd -- $(printf %q "$PLACE/-c")"
}

odd_arguments() {
    printf 'import time\ntime.sleep(10000)\n' >"$PLACE/hold.py"
    work
    type_into work:0 "python3 hold.py '' \$'two\\nlines' \$'a\\xffb' \$'\\x01' '~' '*'"
}

code_argument() { work; type_into work:0 "python3 -c 'import time; time.sleep(10000)' \"it's\""; }
both_jobs() { work; type_into work:0 'tail -f /dev/null &'; type_into work:0 'tail -f /etc/hosts'; }

text_code() {
    work
    # shellcheck disable=SC2016 # it must not be expanded
    printf '%s\n' '#(touch CANARY/text)' '$(touch CANARY/text)' '`touch CANARY/text`' '#{pid} \e[31m' |
        sed "s|CANARY|$CANARY|" >"$PLACE/text"
    type_into work:0 'cat text'
    until tm capture-pane -p -t work:0 | grep -q '^#{pid}'; do sleep 0.1; done
}

long_lines() {
    work
    type_into work:0 "seq -s ' ' 300; echo done"
    until tm capture-pane -p -t work:0 | grep -q '^done'; do sleep 0.1; done
}
