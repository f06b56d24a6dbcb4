"""What a shell has to run once so that it completes the commands of distvae."""

BASH = r"""# distvae: completion for bash. Source it, or keep it in
# ~/.local/share/bash-completion/completions/distvae
_distvae() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        COMPREPLY+=("$line")
    done < <("${COMP_WORDS[0]/#\~/$HOME}" completion bash \
        --line="${COMP_LINE:0:COMP_POINT}" --breaks="$COMP_WORDBREAKS" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[/=] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _distvae distvae
"""
ZSH = r"""#compdef distvae
# distvae: completion for zsh. Source it after compinit, or keep it as _distvae in $fpath.
_distvae() {
    local -a found shown open
    local word about
    while IFS=$'\t' read -r word about; do
        [[ $word == *[/=] ]] && open+=("$word") && continue
        found+=("$word")
        shown+=("$word${about:+  -- $about}")
    done < <("${~words[1]}" completion zsh --line="${(j: :)words[1,CURRENT]}" 2>/dev/null)
    (( $#found )) && compadd -l -d shown -a found
    (( $#open )) && compadd -S '' -a open
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _distvae "$@"
else
    compdef _distvae distvae
fi
"""
FISH = r"""# distvae: completion for fish. Keep it in ~/.config/fish/completions/distvae.fish
function __distvae_complete
    set -l words (commandline -opc)
    $words[1] completion fish --line=(commandline -cp | string collect) 2>/dev/null
end
complete -c distvae -f -a '(__distvae_complete)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
