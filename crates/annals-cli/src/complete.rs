//! Completions: the scripts of the shells, and the names of a store that they ask for.
//!
//! Owns which word of a command line is a name, and the bounds in number and time. Must never change a store, print an
//! error, or make a shell wait for long.

use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use annals::Store;
use clap::{Arg, Command, CommandFactory as _};
use clap_complete::Shell;

use crate::args::{Cli, CompleteNamesArgs, CompletionsArgs};
use crate::failure::Failure;
use crate::open;

/// At most this many names are offered.
const NAMES: usize = 100;
/// A shell waits at most this long for names.
const PATIENCE: Duration = Duration::from_millis(500);

/// What a word names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stream,
    Type,
    Category,
    Tag,
    Cursor,
}

/// `annals completions`
pub(crate) fn script(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "annals", &mut script);
    let script = String::from_utf8_lossy(&script);
    let mut out = std::io::stdout().lock();
    out.write_all(with_names(&script, args.shell).as_bytes()).map_err(Failure::Output)
}

/// The script of clap, with the names of stores.
fn with_names(script: &str, shell: Shell) -> String {
    // The function that the shell calls asks for names first, and calls the function of clap if there are none.
    let (start, names) = match shell {
        Shell::Bash => ("_annals() {\n", BASH),
        Shell::Zsh => ("\n_annals() {\n", ZSH),
        Shell::Fish => return format!("{script}{FISH}"),
        _ => return script.to_owned(),
    };
    if !script.contains(start) {
        return script.to_owned();
    }
    let renamed = start.replace("_annals()", "_annals_words()");
    let (head, rest) = if shell == Shell::Bash { (names, "") } else { ("", names) };
    let renamed = script.replacen(start, &renamed, 1);
    // The last lines of zsh's script call the function, so it is defined before them.
    let Some(end) = renamed.rfind("\nif [ \"$funcstack[1]\"").filter(|_| shell == Shell::Zsh)
    else {
        return format!("{head}{renamed}");
    };
    format!("{}{rest}{}", &renamed[..end], &renamed[end..])
}

const BASH: &str = r#"_annals() {
    local cur="$2" words cword name names=()
    if declare -F _get_comp_words_by_ref > /dev/null; then
        # A colon is part of a name and not the end of a word.
        _get_comp_words_by_ref -n := cur words cword
    else
        words=("${COMP_WORDS[@]}") cword=$COMP_CWORD
    fi
    while IFS= read -r name; do names+=("$name"); done \
        < <("${words[0]}" complete-names -- "${words[@]:1:cword-1}" "$cur" 2> /dev/null)
    if [[ ${#names[@]} -eq 0 ]]; then _annals_words "$@"; return; fi
    COMPREPLY=()
    for name in "${names[@]}"; do COMPREPLY+=("$(printf %q "$name")"); done
    if declare -F __ltrim_colon_completions > /dev/null; then __ltrim_colon_completions "$cur"; fi
}

"#;

const ZSH: &str = r#"
_annals() {
    local -a names
    names=("${(@f)$("${words[1]}" complete-names -- "${(@)words[2,CURRENT]}" 2> /dev/null)}")
    names=("${(@)names:#}")
    if (( $#names )); then compadd -Q -- "${(@q)names}"; else _annals_words "$@"; fi
}
"#;

const FISH: &str = r"
function __annals_names
    set -l words (commandline -opc) (commandline -ct)
    $words[1] complete-names -- $words[2..] 2> /dev/null
end
complete -c annals -a '(__annals_names)'
for option in stream type category tag
    complete -c annals -l $option -x -a '(__annals_names)'
end
";

/// `annals complete-names`: the names that may stand in place of the last word, one a line.
pub(crate) fn names(args: &CompleteNamesArgs) -> Result<(), Failure> {
    let Some((last, before)) = args.words.split_last() else { return Ok(()) };
    let Some((kind, store)) = asked(&built(), before) else { return Ok(()) };
    let (path, start, (sender, found)) = (store.to_owned(), last.clone(), channel());
    // A thread that is too slow ends with the process.
    std::thread::spawn(move || sender.send(listed(Path::new(&path), kind, &start)));
    let Ok(Ok(names)) = found.recv_timeout(PATIENCE) else { return Ok(()) };
    let mut out = std::io::stdout().lock();
    // A name with a line break cannot stand on a line, and a terminal would obey other control characters.
    for name in names.iter().filter(|name| !name.contains(char::is_control)) {
        writeln!(out, "{name}").map_err(Failure::Output)?;
    }
    Ok(())
}

/// The definition of the command line. Options of all commands, such as `--quiet`, are in each of them only when it is built.
fn built() -> Command {
    let mut cli = Cli::command();
    cli.build();
    cli
}

fn listed(path: &Path, kind: Kind, start: &str) -> Result<Vec<String>, Failure> {
    let store = open::for_reading(path)?;
    let terms = |list: fn(&Store) -> annals::TermCounts| {
        let terms = list(&store).prefix(start).limit(NAMES as u64);
        terms
            .into_iter()
            .map(|term| term.map(|term| term.name))
            .collect::<annals::Result<Vec<String>>>()
    };
    Ok(match kind {
        Kind::Stream => {
            let streams = store.streams().prefix(start).limit(NAMES as u64);
            streams
                .into_iter()
                .map(|stream| stream.map(|it| it.name))
                .collect::<annals::Result<_>>()?
        }
        Kind::Type => terms(Store::event_types)?,
        Kind::Category => terms(Store::categories)?,
        Kind::Tag => terms(Store::tags)?,
        Kind::Cursor => {
            let cursors = store.cursors().list()?.into_iter().map(|cursor| cursor.name);
            cursors.filter(|name| name.starts_with(start)).take(NAMES).collect()
        }
    })
}

/// What the word after these words names, and the directory of the store; `None` if it is no name of a store.
fn asked<'a>(cli: &Command, words: &'a [String]) -> Option<(Kind, &'a str)> {
    let (mut command, mut path, mut positionals) = (cli, Vec::new(), Vec::new());
    let mut option = None;
    for word in words {
        if option.take().is_some() {
            continue;
        }
        if let Some(name) = word.strip_prefix("--") {
            option = takes_value(command, name).then_some(name);
        } else if word.len() > 1 && word.starts_with('-') {
            let short = word.chars().nth(1);
            let found = command.get_arguments().find(|arg| arg.get_short() == short);
            option = found.filter(|arg| word.len() == 2 && has_value(arg)).map(|_| "");
        } else if let Some(found) = command.find_subcommand(word).filter(|_| positionals.is_empty())
        {
            path.push(found.get_name());
            command = found;
        } else {
            positionals.push(word.as_str());
        }
    }
    let of_option = option.map(|name| match name {
        "stream" => Some(Kind::Stream),
        "type" => Some(Kind::Type),
        "category" => Some(Kind::Category),
        "tag" => Some(Kind::Tag),
        _ => None,
    });
    let of_place = || match (path.as_slice(), positionals.len()) {
        (["append" | "diff"] | ["stream", _], 1) => Some(Kind::Stream),
        (["append"], 2) => Some(Kind::Type),
        (["cursor", _], 1) => Some(Kind::Cursor),
        _ => None,
    };
    let kind = of_option.unwrap_or_else(of_place)?;
    Some((kind, positionals.first()?))
}

fn takes_value(command: &Command, name: &str) -> bool {
    !name.contains('=')
        && command.get_arguments().any(|arg| arg.get_long() == Some(name) && has_value(arg))
}

/// Whether the next word is the option's value.
fn has_value(arg: &Arg) -> bool {
    arg.get_action().takes_values() && !arg.is_require_equals_set()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_for(line: &str) -> Option<(Kind, String)> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        asked(&built(), &words).map(|(kind, store)| (kind, store.to_owned()))
    }

    #[test]
    fn the_place_of_a_word_decides_what_it_names() {
        for (line, kind) in [
            ("read s --stream", Some(Kind::Stream)),
            ("read s --limit 3 --type", Some(Kind::Type)),
            ("--quiet tail s -n 3 --tag", Some(Kind::Tag)),
            ("log s --category", Some(Kind::Category)),
            ("diff s", Some(Kind::Stream)),
            ("diff --steps s", Some(Kind::Stream)),
            ("append s a", Some(Kind::Type)),
            ("append --data x s", Some(Kind::Stream)),
            ("append s --wait", Some(Kind::Stream)),
            ("stream info s", Some(Kind::Stream)),
            ("cursor set s", Some(Kind::Cursor)),
            ("cursor set s a", None),
            ("snapshot show s", None),
            ("diff s a", None),
            ("diff", None),
            ("read s", None),
            ("read --stream", None),
            ("read s --limit", None),
            ("", None),
            ("nothing s --stream", None),
        ] {
            let found = asked_for(line);
            assert_eq!(found.clone().map(|(kind, _)| kind), kind, "{line:?}");
            assert!(found.is_none_or(|(_, store)| store == "s"), "{line:?}");
        }
    }

    #[test]
    fn scripts_ask_for_names_before_words() {
        for (shell, part) in [
            (Shell::Bash, "_annals_words \"$@\""),
            (Shell::Zsh, "_annals_words \"$@\""),
            (Shell::Fish, "__annals_names"),
        ] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "annals", &mut script);
            let script = with_names(&String::from_utf8(script).expect("UTF-8"), shell);
            assert!(script.contains(part), "{shell}");
            let defined =
                ["\n_annals_words() {\n", "_annals() {\n"].map(|name| script.contains(name));
            assert_eq!(defined, [shell != Shell::Fish; 2], "{shell}");
        }
    }
}
