//! From a text to a command. Pure.
//!
//! A command is one or two words (letters, digits and `_`, or anything in double quotes) and at most one
//! semicolon, as PgBouncer takes it; `SELECT x` means `SHOW x`. Comments and empty texts are nothing, since
//! drivers send such to see whether the other side lives.

use super::commands::{self, Command, Role};
use crate::wire::sqlstate::{self, SqlState};

/// What a text asks for.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// Nothing.
    Empty,
    Run(&'static Command, Option<String>),
    /// A setting of a session that drivers ask for: name and value.
    Setting(&'static str, &'static str),
    /// A setting that drivers make: nothing changes.
    Set(&'static str),
}

/// Why a text is no command, or none for this role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) sqlstate: SqlState,
    pub(super) message: String,
    pub(super) hint: String,
}

/// What the console says of the settings that drivers care for.
pub(super) const SETTINGS: [(&str, &str); 8] = [
    ("client_encoding", "UTF8"),
    ("server_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("TimeZone", "UTC"),
    ("standard_conforming_strings", "on"),
    ("default_transaction_isolation", "read committed"),
    ("extra_float_digits", "1"),
    ("application_name", ""),
];

/// A word, or what stands between words.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// In single quotes.
    Text(String),
    Equals,
    End,
}

/// Reads a text as somebody of that role.
///
/// # Errors
/// [`Mistake`]
pub(super) fn read(text: &str, role: Role) -> Result<Ask, Mistake> {
    let mut tokens = tokens(text).ok_or_else(|| unknown(text, role))?;
    if tokens.last() == Some(&Token::End) {
        tokens.pop();
    }
    if tokens.contains(&Token::End) {
        let message = "the console takes one command at a time".to_owned();
        return Err(Mistake { sqlstate: sqlstate::SYNTAX_ERROR, message, hint: String::new() });
    }
    match tokens.as_slice() {
        [] => Ok(Ask::Empty),
        [Token::Word(set), Token::Word(key), rest @ ..] if set.eq_ignore_ascii_case("set") => match rest {
            [Token::Equals, Token::Word(_) | Token::Text(_)] => set_to(key),
            [Token::Word(to), Token::Word(_) | Token::Text(_)] if to.eq_ignore_ascii_case("to") => {
                set_to(key)
            }
            _ => Err(unknown(text, role)),
        },
        [Token::Word(show), Token::Word(what)]
            if ["show", "select"].iter().any(|word| show.eq_ignore_ascii_case(word)) =>
        {
            let setting = SETTINGS.iter().find(|(name, _)| name.eq_ignore_ascii_case(what));
            match setting {
                Some((name, value)) => Ok(Ask::Setting(name, value)),
                None => command(&format!("SHOW {what}"), None, text, role),
            }
        }
        [Token::Word(help)] if help.eq_ignore_ascii_case("help") => command("SHOW HELP", None, text, role),
        [Token::Word(name)] => command(name, None, text, role),
        words => match phrase(words) {
            Some(phrase) => command(&phrase, None, text, role),
            None => match words {
                [Token::Word(name), Token::Word(argument)] => command(name, Some(argument), text, role),
                _ => Err(unknown(text, role)),
            },
        },
    }
}

/// Several words that are a command together.
fn phrase(tokens: &[Token]) -> Option<String> {
    let word = |token: &Token| if let Token::Word(word) = token { Some(word.clone()) } else { None };
    let words: Option<Vec<String>> = tokens.iter().take(4).map(word).collect();
    words.map(|words| words.join(" ")).filter(|phrase| commands::find(phrase).is_some() && tokens.len() < 4)
}

fn command(name: &str, argument: Option<&str>, text: &str, role: Role) -> Result<Ask, Mistake> {
    let found = commands::find(name).ok_or_else(|| unknown(text, role))?;
    if !found.allows(role) {
        return Err(Mistake {
            sqlstate: sqlstate::INSUFFICIENT_PRIVILEGE,
            message: format!("permission denied for {}", found.name),
            hint: "It is for the roles in admin.admin_users.".to_owned(),
        });
    }
    if found.argument.is_some() != argument.is_some() {
        let message = format!("usage: {}", found.usage());
        return Err(Mistake { sqlstate: sqlstate::SYNTAX_ERROR, message, hint: String::new() });
    }
    Ok(Ask::Run(found, argument.map(str::to_owned)))
}

fn set_to(key: &str) -> Result<Ask, Mistake> {
    let known = SETTINGS.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
    known.map(|(name, _)| Ask::Set(name)).ok_or_else(|| Mistake {
        sqlstate: sqlstate::FEATURE_NOT_SUPPORTED,
        message: "settings cannot be changed from the console".to_owned(),
        hint: "Change the settings file and restart pgsluice.".to_owned(),
    })
}

fn unknown(text: &str, role: Role) -> Mistake {
    let text = text.trim();
    let begins = |word: &str| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let hint = if begins("begin") || begins("start ") {
        "The console has no transactions: connect in autocommit mode.".to_owned()
    } else {
        let usable = commands::COMMANDS.iter().filter(|command| command.allows(role));
        let names: Vec<_> = usable.map(Command::usage).collect();
        format!("Commands: {}.", names.join(", "))
    };
    let shown: String = text.chars().take(60).flat_map(printable).collect();
    let message = format!("invalid command \"{shown}\", use SHOW HELP");
    Mistake { sqlstate: sqlstate::SYNTAX_ERROR, message, hint }
}

/// A character for a terminal: control characters as `\x1b`.
pub(super) fn printable(c: char) -> impl Iterator<Item = char> {
    let code = c.is_control().then(|| format!("\\x{:02x}", u32::from(c)));
    let (code, plain) = (code.unwrap_or_default(), (!c.is_control()).then_some(c));
    code.chars().collect::<Vec<_>>().into_iter().chain(plain)
}

/// `None`: something that is part of no command.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return Some(tokens) };
        let (token, after) = match first {
            '-' if rest.starts_with("--") => {
                rest = rest.split_once('\n').map_or("", |(_, after)| after);
                continue;
            }
            '/' if rest.starts_with("/*") => {
                rest = rest.get(2..)?.split_once("*/")?.1;
                continue;
            }
            ';' => (Token::End, rest.get(1..)?),
            '=' => (Token::Equals, rest.get(1..)?),
            '"' => quoted(rest, '"').map(|(word, after)| (Token::Word(word), after))?,
            '\'' => quoted(rest, '\'').map(|(text, after)| (Token::Text(text), after))?,
            _ => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                let (word, after) = rest.split_at_checked(end).filter(|(word, _)| !word.is_empty())?;
                (Token::Word(word.to_owned()), after)
            }
        };
        tokens.push(token);
        rest = after;
    }
}

/// What stands in quotes (doubled, they stand for one), and what follows them.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut inside = String::new();
    let mut rest = text.get(1..)?;
    loop {
        let (before, after) = rest.split_once(quote)?;
        inside.push_str(before);
        match after.strip_prefix(quote) {
            Some(more) => {
                inside.push(quote);
                rest = more;
            }
            None => return Some((inside, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn runs(text: &str) -> String {
        match read(text, Role::Admin).unwrap() {
            Ask::Run(command, argument) => {
                format!("{} {}", command.name, argument.unwrap_or_default()).trim_end().to_owned()
            }
            other => panic!("{text}: {other:?}"),
        }
    }

    fn fails(text: &str, role: Role) -> Mistake {
        read(text, role).unwrap_err()
    }

    #[test]
    fn commands_are_read_as_pgbouncer_reads_them() {
        for text in
            ["SHOW POOLS", "show pools;", " \t\r\nShow \"pools\" ; ", "select pools", "-- x\nshow pools"]
        {
            assert_eq!(runs(text), "SHOW POOLS", "{text}");
        }
        assert_eq!(runs("help"), "SHOW HELP");
        assert_eq!(runs("reload  policies canary;"), "RELOAD POLICIES CANARY");
        assert_eq!(runs("show policy_versions"), "SHOW POLICY_VERSIONS");
        assert_eq!(runs("KILL_CLIENT 17;"), "KILL_CLIENT 17");
        assert_eq!(runs("kill_client \"1\"\"7\""), "KILL_CLIENT 1\"7");
    }

    #[test]
    fn what_is_nothing_is_answered_with_nothing() {
        for text in ["", ";", " ", "-- ping", "/* ping */", "/* a */ -- b"] {
            assert!(matches!(read(text, Role::Stats), Ok(Ask::Empty)), "{text:?}");
        }
    }

    #[test]
    fn what_drivers_ask_and_set_is_answered() {
        for text in ["set client_encoding to 'UTF8'", "SET datestyle = ISO;", "set \"TimeZone\" to UTC"] {
            assert!(matches!(read(text, Role::Stats), Ok(Ask::Set(_))), "{text}");
        }
        assert!(matches!(read("show client_encoding", Role::Stats), Ok(Ask::Setting(_, "UTF8"))));
        let refused = fails("set pool_size = 5", Role::Admin);
        assert_eq!(refused.sqlstate, sqlstate::FEATURE_NOT_SUPPORTED);
    }

    #[test]
    fn nothing_else_is_a_command() {
        for text in [
            "SHOW",
            "SHOW NOTHING",
            "SHOW POOLS CLIENTS",
            "SHOW POOLS; DROP",
            "SHOW POOLS;;",
            "SELECT 1+1",
            "select * from pools",
            "pools",
            "SHOW 'pools'",
            "SHOW \"pools",
            "/* SHOW POOLS",
            "RELOAD now",
            "RELOAD POLICIES CANARY now",
            "ROLLBACK",
            "KILL_CLIENT",
            "KILL_CLIENT 1 2",
            "\u{202e}SHOW POOLS",
        ] {
            assert_eq!(fails(text, Role::Admin).sqlstate, sqlstate::SYNTAX_ERROR, "{text}");
        }
        let unknown = fails("SHOW N\u{1b}[2J", Role::Stats);
        assert!(unknown.message.contains("\\x1b[2J"), "{unknown:?}");
        assert!(unknown.hint.contains("SHOW CLIENTS") && !unknown.hint.contains("RELOAD"));
        assert!(fails("BEGIN", Role::Admin).hint.contains("autocommit"));
        assert!(fails(&"é".repeat(5000), Role::Admin).message.len() < 200);
    }

    #[test]
    fn who_may_only_look_changes_nothing_however_it_is_written() {
        for text in
            ["RELOAD", "reload;", "\"ReLoAd\"", "KILL_CLIENT 1", "kill_client", "/**/ KILL_CLIENT \"1\";"]
        {
            assert_eq!(fails(text, Role::Stats).sqlstate, sqlstate::INSUFFICIENT_PRIVILEGE, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}|(show|select|set|;|\"|'|=|--|/\\*|\\*/|pools| |\n)*") {
            let _ = read(&text, Role::Stats);
        }
    }
}
