//! I1, lists: listings and commits of several streams are strictly serializable: there is one order of all of them, in
//! keeping with real time, in which every listing shows just what was committed before it.
//!
//! Each element is appended once, so a list that was read says who came before whom (`cycles.rs`). The longest read of a
//! list gives its order; every other must be a beginning of it. What was acknowledged and is not in the longest comes after
//! all that is. Beside circles, these are caught: an element that nobody appended, one that was refused (G1a), a listing
//! that has a part of what was committed at once in one list (G1b), one element twice, lists that contradict each other.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;

use crate::calls::{Call, calls};
use crate::history::Event;
use crate::judges::cycles::{Arrows, Circle, RT, RW, WR, WW, arrow};
use crate::verdict::Verdict;
use crate::words::{APPEND, LISTS};

/// Its words.
pub const WORDS: [&str; 2] = [APPEND, LISTS];

/// A list as it was read: groups of elements, in order between them.
type Groups<'a> = Vec<Vec<&'a str>>;
/// Which list: its tenant and its name.
type List<'a> = (&'a str, &'a str);

/// Judges the history.
pub fn judge(events: &[Event]) -> Verdict {
    let calls = calls(events, &WORDS);
    let mut evidence = Vec::new();
    // Who appended an element.
    let mut writers: HashMap<(List<'_>, &str), usize> = HashMap::new();
    for (at, call) in calls.iter().enumerate().filter(|(_, call)| call.invoke.f == APPEND) {
        for (list, elements) in appended(call) {
            for element in elements {
                if writers.insert((list, element), at).is_some() {
                    return Verdict::Unknown(format!("lists: {element} was appended twice; it says nothing"));
                }
            }
        }
    }
    let mut reads: BTreeMap<List<'_>, Vec<(usize, Groups<'_>)>> = BTreeMap::new();
    for (at, call) in calls.iter().enumerate().filter(|(_, call)| call.invoke.f == LISTS) {
        for (name, groups) in read(call) {
            reads.entry((call.tenant(), name)).or_default().push((at, groups));
        }
    }
    let mut arrows = Arrows::among(calls.len());
    for (list, reads) in &reads {
        one_list(&calls, &writers, *list, reads, &mut arrows, &mut evidence);
    }
    real_time(&calls, &mut arrows);
    evidence.extend(arrows.circles().iter().map(|circle| shown(circle, &calls)));
    let appends = calls.iter().filter(|call| call.invoke.f == APPEND && call.done().is_some()).count();
    let listings = calls.iter().filter(|call| call.invoke.f == LISTS && call.done().is_some()).count();
    if evidence.is_empty() && (appends == 0 || listings == 0) {
        return Verdict::Unknown("lists: nothing was appended, or nothing was read".to_owned());
    }
    Verdict::from_evidence(
        evidence,
        format!("{appends} appends, {listings} listings of {} lists, no circle", reads.len()),
    )
}

/// What a call appends: elements by list.
fn appended<'a>(call: &Call<'a>) -> Vec<(List<'a>, Vec<&'a str>)> {
    let lists = call.invoke.argument["elements"].as_object().into_iter().flatten();
    lists.map(|(name, elements)| ((call.tenant(), name.as_str()), texts(elements))).collect()
}

/// One text, or several.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    }
}

fn read<'a>(call: &Call<'a>) -> Vec<(&'a str, Groups<'a>)> {
    let lists = call.done().and_then(|end| end.value["lists"].as_object()).into_iter().flatten();
    lists.map(|(name, groups)| (name.as_str(), groups.as_array().into_iter().flatten().map(texts).collect())).collect()
}

/// Arrows and contradictions of one list.
fn one_list<'a>(
    calls: &[Call<'a>],
    writers: &HashMap<(List<'a>, &'a str), usize>,
    list: List<'a>,
    reads: &[(usize, Groups<'a>)],
    arrows: &mut Arrows,
    evidence: &mut Vec<String>,
) {
    let name = list.1;
    let mut strange = HashSet::new();
    for (at, groups) in reads {
        let mut seen = HashSet::new();
        for element in groups.iter().flatten() {
            if !seen.insert(*element) {
                evidence.push(format!("duplicate: {} has {element} twice in list {name}", calls[*at].name()));
            }
            let whose = match writers.get(&(list, *element)) {
                None => "which was appended by nobody".to_owned(),
                Some(writer) if calls[*writer].is_refused() => {
                    format!("which {} was refused: G1a", calls[*writer].name())
                }
                Some(_) => continue,
            };
            // Whoever reads it later says the same.
            if strange.insert(*element) {
                evidence.push(format!("{} has {element} in list {name}, {whose}", calls[*at].name()));
            }
        }
        // All of one writer, or nothing.
        let by: BTreeSet<usize> =
            groups.iter().flatten().filter_map(|one| writers.get(&(list, *one)).copied()).collect();
        for writer in by {
            let all = appended(&calls[writer]).into_iter().filter(|(of, _)| *of == list).flat_map(|(_, all)| all);
            for missing in all.filter(|element| !seen.contains(element)) {
                let (reader, writer) = (calls[*at].name(), calls[writer].name());
                evidence.push(format!("G1b: {reader} has a part of {writer} in list {name}, without {missing}"));
            }
        }
    }
    // The order: that of the longest read, in ranks, and behind it what was acknowledged and is not in it.
    let size = |groups: &Groups<'_>| groups.iter().map(Vec::len).sum::<usize>();
    let Some((longest_at, longest)) = reads.iter().max_by_key(|(_, groups)| size(groups)) else { return };
    let mut ranks: Vec<Vec<&str>> = longest.clone();
    let known: HashSet<&str> = longest.iter().flatten().copied().collect();
    let mut unseen: Vec<&str> = writers
        .iter()
        .filter(|((of, element), at)| *of == list && !known.contains(element) && calls[**at].done().is_some())
        .map(|((_, element), _)| *element)
        .collect();
    unseen.sort_unstable();
    ranks.push(unseen);
    let rank: HashMap<&str, usize> =
        ranks.iter().enumerate().flat_map(|(rank, group)| group.iter().map(move |one| (*one, rank))).collect();
    let writer = |element: &str| writers.get(&(list, element)).copied();
    for pair in ranks.windows(2) {
        for (earlier, later) in pair[0].iter().flat_map(|one| pair[1].iter().map(move |other| (*one, *other))) {
            if let (Some(earlier), Some(later)) = (writer(earlier), writer(later)) {
                arrows.add(earlier, later, WW);
            }
        }
    }
    for (at, groups) in reads {
        let seen: HashSet<&str> = groups.iter().flatten().copied().collect();
        let last = groups.iter().flatten().filter_map(|element| rank.get(element)).max().copied();
        // Inner arrays have no order of their own, but between them there is one.
        let sorted: Vec<Option<usize>> = groups
            .iter()
            .flat_map(|group| {
                let mut ranks: Vec<Option<usize>> = group.iter().map(|element| rank.get(element).copied()).collect();
                ranks.sort_unstable();
                ranks
            })
            .collect();
        let complete = ranks.iter().take(last.unwrap_or(0)).flatten().all(|element| seen.contains(element));
        if !sorted.is_sorted() || sorted.contains(&None) || !complete {
            let (one, other) = (calls[*at].name(), calls[*longest_at].name());
            evidence.push(format!("list {name} as read by {one} is no beginning of that read by {other}"));
            continue;
        }
        for element in last.iter().flat_map(|last| &ranks[*last]).filter(|element| seen.contains(*element)) {
            writer(element).into_iter().for_each(|writer| arrows.add(writer, *at, WR));
        }
        let unseen_of_last = last.iter().flat_map(|last| &ranks[*last]).filter(|element| !seen.contains(*element));
        let next = ranks.iter().skip(last.map_or(0, |last| last + 1)).find(|group| !group.is_empty());
        for element in unseen_of_last.chain(next.into_iter().flatten()) {
            writer(element).into_iter().for_each(|writer| arrows.add(*at, writer, RW));
        }
    }
}

/// Who ended before another began; only the last of those that stand in a row.
fn real_time(calls: &[Call<'_>], arrows: &mut Arrows) {
    let mut moments: Vec<(u64, bool, usize)> = Vec::new();
    for (at, call) in calls.iter().enumerate().filter(|(_, call)| !call.is_refused()) {
        moments.push((call.began(), false, at));
        moments.extend(call.done().map(|end| (end.index, true, at)));
    }
    moments.sort_unstable();
    let mut front: BTreeSet<usize> = BTreeSet::new();
    let mut before: HashMap<usize, Vec<usize>> = HashMap::new();
    for (_, is_end, at) in moments {
        if is_end {
            for earlier in before.remove(&at).unwrap_or_default() {
                front.remove(&earlier);
            }
            front.insert(at);
        } else {
            front.iter().for_each(|earlier| arrows.add(*earlier, at, RT));
            before.insert(at, front.iter().copied().collect());
        }
    }
}

fn shown(circle: &Circle, calls: &[Call<'_>]) -> String {
    let mut text = format!("{}:", circle.name);
    for (at, kind) in &circle.members {
        text.push_str(&format!(" {} ({}) -{}->", calls[*at].name(), calls[*at].invoke.f, arrow(*kind)));
    }
    text.push_str(&format!(" {}", calls[circle.members[0].0].name()));
    text
}
