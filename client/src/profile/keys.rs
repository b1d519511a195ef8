//! Every key of a profile: where it stands, what it holds, and what is said to whoever forgets or misspells it.
//!
//! Not here: what the values mean (`profile.rs`).

use toml::{Table, Value};

use super::fault::Fault;

/// Whether a profile must have it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Its section must have it.
    Must,
    /// It may be absent.
    May,
}

/// What a key holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Text,
    Texts,
}

/// One key.
struct Key {
    /// `section.name`.
    path: &'static str,
    need: Need,
    holds: Holds,
    /// What stands there, and where to get it.
    says: &'static str,
}

const SECTIONS: [(&str, Need); 4] =
    [("cluster", Need::Must), ("tenant", Need::May), ("identity", Need::Must), ("keys", Need::May)];

const fn text(path: &'static str, need: Need, says: &'static str) -> Key {
    Key { path, need, holds: Holds::Text, says }
}

const fn texts(path: &'static str, need: Need, says: &'static str) -> Key {
    Key { path, need, holds: Holds::Texts, says }
}

const KEYS: [Key; 15] = [
    text("cluster.name", Need::Must, "the cluster's name, as `strongroom status` shows it"),
    texts("cluster.endpoints", Need::Must, "host:port of one or more nodes"),
    text("cluster.roots", Need::Must, "the PEM file with the CA of the nodes; `strongroom enrol` writes it"),
    text("tenant.name", Need::Must, "the tenant's name"),
    text("tenant.id", Need::May, "the tenant's id, 32 hex digits; `init-key root` and `tenant create` say it"),
    text(
        "tenant.root",
        Need::Must,
        "the public half of the tenant's root key, 64 hex digits; it stands in NAME.root.pub",
    ),
    text(
        "tenant.state",
        Need::Must,
        "a directory in which this machine keeps what it has seen, for instance /var/lib/strongroom-client",
    ),
    text("identity.certificate", Need::Must, "the PEM file with our certificate; `strongroom enrol` writes it"),
    text("identity.key", Need::Must, "the PEM file with the TLS key; `strongroom enrol` writes it"),
    text(
        "identity.signing",
        Need::Must,
        "the signing key; `strongroom enrol` or `strongroom init-key signing` makes it",
    ),
    text("keys.root", Need::May, "the tenant's root key, where vaults are made"),
    text("keys.writer", Need::May, "the writer's key; `strongroom init-key writer` makes it"),
    text("keys.restorer", Need::May, "the restorer's key; `strongroom init-key restorer` makes it"),
    texts("keys.writers", Need::May, "writer keys that get a card in each new vault"),
    texts("keys.recipients", Need::May, "public halves of the restorers who can open each new vault"),
];

impl Key {
    fn section(&self) -> &'static str {
        self.path.split_once('.').map_or(self.path, |(section, _)| section)
    }

    fn name(&self) -> &'static str {
        self.path.split_once('.').map_or(self.path, |(_, name)| name)
    }

    fn next(&self) -> String {
        let Self { says, .. } = self;
        match self.holds {
            Holds::Text => format!("write `{} = \"…\"` under [{}]: {says}", self.name(), self.section()),
            Holds::Texts => format!("write `{} = [\"…\", \"…\"]` under [{}]: {says}", self.name(), self.section()),
        }
    }
}

/// All keys as `section.name`.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.path)
}

/// Whether a key of some section is called so.
#[cfg(test)]
pub(super) fn is_name(name: &str) -> bool {
    KEYS.iter().any(|key| key.name() == name)
}

/// What to do about a key whose value is no good.
pub(super) fn next_for(path: &str) -> String {
    KEYS.iter().find(|key| key.path == path).map_or_else(String::new, Key::next)
}

/// Whether all keys that must be there are, with the right kind of value, and no others.
pub(super) fn check(profile: &Table) -> Result<(), Fault> {
    for (name, value) in profile {
        let Value::Table(section) = value else { return Err(outside(name)) };
        if !SECTIONS.iter().any(|(known, _)| known == name) {
            let known = SECTIONS.map(|(known, _)| known);
            let next = match nearest(name, known.into_iter()) {
                Some(near) => format!("did you mean [{near}]?"),
                None => format!("sections are {}", known.map(|known| format!("[{known}]")).join(", ")),
            };
            return Err(Fault::new(format_args!("there is no section [{name}]"), next));
        }
        section.keys().try_for_each(|key| known(name, key))?;
    }
    for (name, need) in SECTIONS {
        match profile.get(name).and_then(Value::as_table) {
            Some(section) => {
                KEYS.iter().filter(|key| key.section() == name).try_for_each(|key| filled(key, section))?
            }
            None if need == Need::Must => {
                let names: Vec<_> = must(name).map(Key::name).collect();
                return Err(Fault::new(
                    format_args!("[{name}] is missing"),
                    format!(
                        "add [{name}] with {}; deploy/profile.example.toml shows a whole profile",
                        names.join(", ")
                    ),
                ));
            }
            None => {}
        }
    }
    Ok(())
}

fn must(section: &str) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(move |key| key.section() == section && key.need == Need::Must)
}

fn known(section: &str, name: &str) -> Result<(), Fault> {
    let here = || KEYS.iter().filter(|key| key.section() == section).map(Key::name);
    if here().any(|known| known == name) {
        return Ok(());
    }
    let elsewhere = KEYS.iter().find(|key| key.name() == name);
    let next = match (nearest(name, here()), elsewhere) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, Some(key)) => format!("`{name}` belongs under [{}]", key.section()),
        (None, None) => format!("[{section}] has {}", here().collect::<Vec<_>>().join(", ")),
    };
    Err(Fault::new(format_args!("{section}.{name} is no key of a profile"), next))
}

fn filled(key: &Key, section: &Table) -> Result<(), Fault> {
    let Key { path, .. } = key;
    let Some(value) = section.get(key.name()) else {
        return match key.need {
            Need::May => Ok(()),
            Need::Must => {
                Err(Fault::new(format_args!("{path} is missing"), key.next().replacen("write `", "add `", 1)))
            }
        };
    };
    let is_text = |value: &Value| value.as_str().is_some_and(|text| !text.trim().is_empty());
    match (key.holds, value) {
        (Holds::Text, Value::String(text)) if text.trim().is_empty() => {
            Err(Fault::new(format_args!("{path} is empty"), key.next()))
        }
        (Holds::Text, Value::String(_)) => Ok(()),
        (Holds::Text, _) => Err(Fault::new(format_args!("{path} must be a text"), key.next())),
        (Holds::Texts, Value::Array(all)) if all.iter().all(is_text) => Ok(()),
        (Holds::Texts, _) => Err(Fault::new(format_args!("{path} must be a list of texts"), key.next())),
    }
}

fn outside(name: &str) -> Fault {
    let sections: Vec<_> =
        KEYS.iter().filter(|key| key.name() == name).map(|key| format!("[{}]", key.section())).collect();
    let next = match sections.is_empty() {
        true => "remove it; deploy/profile.example.toml shows every key".to_owned(),
        false => format!("move it below {}", sections.join(" or ")),
    };
    Fault::new(format_args!("`{name}` stands outside of any section"), next)
}

/// The known word that was probably meant: at most a third of its letters away.
fn nearest(word: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let far = |known: &&str| distance(word, known);
    known.min_by_key(far).filter(|near| far(near) * 3 <= near.len())
}

/// How many letters must be changed, added or left out (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (at, left) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (to, right) in b.chars().enumerate() {
            let changed = diagonal + usize::from(left != right);
            diagonal = row[to + 1];
            row[to + 1] = changed.min(diagonal + 1).min(row[to] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_nearly_right_is_recognised() {
        let known = ["certificate", "key", "signing"];
        assert_eq!(nearest("certificat", known.into_iter()), Some("certificate"));
        assert_eq!(nearest("singing", known.into_iter()), Some("signing"));
        assert_eq!(nearest("kye", known.into_iter()), None, "two letters of three");
        assert_eq!(nearest("colour", known.into_iter()), None);
        assert_eq!((distance("", "abc"), distance("abc", "abc"), distance("abc", "axc")), (3, 0, 1));
    }
}
