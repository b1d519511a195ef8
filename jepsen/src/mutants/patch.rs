//! A change of one source file, as a unified diff says it, made on text in memory.
//!
//! An own reader and not `git apply` or `patch`: a clone may have no `.git`, a machine neither program, and neither of
//! them says no where lines fit in two places. A hunk goes where it says, or, where other lines came before it, to the one
//! place in which its old lines stand; nowhere or in several places, it does not apply.

use std::fmt;

/// What becomes of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its path from the root of the tree.
    pub path: String,
    hunks: Vec<Hunk>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Hunk {
    /// Where its lines stood when the patch was made, counted from 0.
    at: usize,
    before: Vec<String>,
    after: Vec<String>,
}

/// Why a change does not apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotApplied {
    path: String,
    line: usize,
    places: usize,
}

impl fmt::Display for NotApplied {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, places } = self;
        write!(formatter, "{path}: the lines at {line} stand in {places} places")
    }
}

impl std::error::Error for NotApplied {}

impl Change {
    /// The changes in a diff; what stands before the first `---` is somebody else's. Files are neither made nor removed.
    pub fn read(diff: &str) -> Result<Vec<Change>, String> {
        let mut changes: Vec<Change> = Vec::new();
        let mut lines = diff.lines().skip_while(|line| !line.starts_with("--- ")).peekable();
        while let Some(line) = lines.next() {
            if line.starts_with("--- a/") {
                let path = lines.next().and_then(|line| line.strip_prefix("+++ b/"));
                let path = path.filter(|path| line.strip_prefix("--- a/") == Some(path));
                let path = path.ok_or_else(|| format!("`{line}` is not followed by the same file"))?;
                changes.push(Change { path: path.to_owned(), hunks: Vec::new() });
            } else if let Some(place) = line.strip_prefix("@@ -") {
                let number = place.split([',', ' ']).next().and_then(|number| number.parse::<usize>().ok());
                let at = number.and_then(|number| number.checked_sub(1));
                let mut hunk = Hunk { at: at.ok_or(format!("`{line}` names no line"))?, before: vec![], after: vec![] };
                while let Some(line) = lines.next_if(|line| !line.starts_with("--- ") && !line.starts_with("@@ ")) {
                    hunk.take(line)?;
                }
                changes.last_mut().ok_or("a hunk of no file")?.hunks.push(hunk);
            } else {
                return Err(format!("`{line}` is no line of a diff"));
            }
        }
        if changes.is_empty() || changes.iter().any(|change| change.hunks.iter().all(|hunk| hunk.before == hunk.after))
        {
            return Err("a diff that changes nothing".into());
        }
        Ok(changes)
    }

    /// The file as the patch leaves it.
    pub fn apply(&self, text: &str) -> Result<String, NotApplied> {
        let old: Vec<&str> = text.split('\n').collect();
        let mut new: Vec<&str> = Vec::with_capacity(old.len());
        let (mut taken, mut drift) = (0, 0_isize);
        for hunk in &self.hunks {
            let place = hunk.find(&old, taken, drift).map_err(|places| {
                let line = hunk.at + 1;
                NotApplied { path: self.path.clone(), line, places }
            })?;
            drift = place.cast_signed() - hunk.at.cast_signed();
            new.extend(&old[taken..place]);
            new.extend(hunk.after.iter().map(String::as_str));
            taken = place + hunk.before.len();
        }
        new.extend(&old[taken..]);
        Ok(new.join("\n"))
    }
}

impl Hunk {
    fn take(&mut self, line: &str) -> Result<(), String> {
        // Editors take the blank from an empty line.
        let (mark, rest) = line.split_at_checked(1).unwrap_or((" ", ""));
        if matches!(mark, " " | "-") {
            self.before.push(rest.to_owned());
        }
        if matches!(mark, " " | "+") {
            self.after.push(rest.to_owned());
        }
        if matches!(mark, " " | "-" | "+") { Ok(()) } else { Err(format!("`{line}` is no line of a hunk")) }
    }

    /// Where its old lines begin, not before `from`; else in how many places they stand.
    fn find(&self, lines: &[&str], from: usize, drift: isize) -> Result<usize, usize> {
        let stands =
            |at: &usize| from <= *at && lines.get(*at..*at + self.before.len()).is_some_and(|at| at == self.before);
        let expected = self.at.checked_add_signed(drift).filter(|at| stands(at));
        if let Some(expected) = expected {
            return Ok(expected);
        }
        let places: Vec<usize> = (from..lines.len()).filter(stands).collect();
        if let [place] = places[..] { Ok(place) } else { Err(places.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str =
        "what it is\n\n--- a/x/y.rs\n+++ b/x/y.rs\n@@ -2,3 +2,2 @@\n b\n-c\n d\n@@ -7,2 +6,3 @@\n g\n+G\n\n";
    const OLD: &str = "a\nb\nc\nd\ne\nf\ng\n\n";

    fn change() -> Change {
        let [change] = <[Change; 1]>::try_from(Change::read(DIFF).unwrap()).unwrap();
        change
    }

    #[test]
    fn a_hunk_goes_where_it_says_or_to_the_one_place_where_its_lines_stand() {
        let change = change();
        assert_eq!(change.path, "x/y.rs");
        assert_eq!(change.apply(OLD).unwrap(), "a\nb\nd\ne\nf\ng\nG\n\n");
        assert_eq!(change.apply(&format!("new\nlines\n{OLD}")).unwrap(), "new\nlines\na\nb\nd\ne\nf\ng\nG\n\n");
        let repeated = format!("{OLD}b\nc\nd\n");
        assert!(change.apply(&repeated).unwrap().ends_with("G\n\nb\nc\nd\n"), "it says where");
    }

    #[test]
    fn lines_that_stand_nowhere_or_in_two_places_are_not_guessed() {
        let change = change();
        let nowhere = change.apply(&OLD.replace('c', "C")).unwrap_err();
        assert_eq!(nowhere.to_string(), "x/y.rs: the lines at 2 stand in 0 places");
        let twice = change.apply(&format!("x\n{OLD}b\nc\nd\n")).unwrap_err();
        assert_eq!(twice.to_string(), "x/y.rs: the lines at 2 stand in 2 places");
        assert!(change.apply("g\n\nb\nc\nd\n").is_err(), "a later hunk stands behind an earlier one");
    }

    #[test]
    fn what_is_no_diff_is_not_read() {
        for bad in [
            "",
            "only words",
            "--- a/x\n+++ b/y\n@@ -1 +1 @@\n-a\n+b\n",
            "--- a/x\n+++ b/x\n@@ -1 +1 @@\n a\n",
            "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n\\ No newline at end of file\n",
            "--- a/x\n+++ b/x\n-a\n+b\n",
            "--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n+b\n",
        ] {
            assert!(Change::read(bad).is_err(), "{bad}");
        }
    }
}
