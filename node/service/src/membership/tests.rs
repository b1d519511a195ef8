//! Steps of the controller, without a cluster: from any state that a killed controller can leave, the same end.

use strongroom_format::id::Slot;

use super::*;

fn id(number: u64) -> ReplicaId {
    ReplicaId(number)
}

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn rows(members: &[(u64, &str, bool)]) -> Rows {
    let member =
        |(replica, name, voter): &(u64, &str, bool)| (id(*replica), Member { node: node(name), voter: *voter });
    Rows { members: members.iter().map(member).collect(), changing: None }
}

fn have(voters: &[(u64, &str)], learners: &[(u64, &str)], leader: u64) -> Have {
    let named = |members: &[(u64, &str)]| members.iter().map(|(replica, name)| (id(*replica), node(name))).collect();
    let all = voters.iter().chain(learners).map(|(replica, _)| id(*replica)).collect();
    Have { voters: named(voters), learners: named(learners), caught_up: all, leader: id(leader) }
}

/// What Raft does with a step.
fn carry_out(have: &mut Have, step: &Step) {
    match step {
        Step::Change(MemberChange::AddLearner { replica, node }) => {
            assert!(have.learners.insert(*replica, node.clone()).is_none());
            have.caught_up.insert(*replica);
        }
        Step::Change(MemberChange::Replace { remove, add }) => {
            assert!(*remove != have.leader && have.voters.remove(remove).is_some());
            let node = have.learners.remove(add).expect("a learner becomes a voter");
            have.voters.insert(*add, node);
        }
        Step::Change(MemberChange::SetVoters(voters)) => {
            assert!(voters.contains(&have.leader));
            let all: BTreeMap<_, _> = have.voters.iter().chain(&have.learners).map(|(r, n)| (*r, n.clone())).collect();
            assert!(voters.iter().all(|replica| all.contains_key(replica)));
            have.learners.retain(|replica, _| !voters.contains(replica));
            have.voters = all.into_iter().filter(|(replica, _)| voters.contains(replica)).collect();
        }
        Step::Change(MemberChange::Remove { replica }) => {
            assert!(have.learners.remove(replica).is_some(), "no voter is removed without a joint change");
        }
        Step::HandOver(to) => {
            assert!(have.voters.contains_key(to));
            have.leader = *to;
        }
        Step::Finish(_) => panic!("the end"),
    }
}

/// All steps until rows and membership agree, or until the replacement can be ended.
fn steps(rows: &Rows, mut have: Have) -> (Vec<Step>, Have) {
    let mut steps = Vec::new();
    while let Some(step) = next(rows, &have) {
        let is_last = matches!(step, Step::Finish(_));
        if !is_last {
            carry_out(&mut have, &step);
        }
        steps.push(step);
        assert!(steps.len() < 50, "it ends: {steps:?}");
        if is_last {
            break;
        }
    }
    (steps, have)
}

const THREE: [(u64, &str, bool); 3] = [(256, "a", true), (257, "b", true), (258, "c", true)];

#[test]
fn where_rows_and_membership_agree_nothing_is_done() {
    let all = have(&[(256, "a"), (257, "b"), (258, "c")], &[], 256);
    assert_eq!(next(&rows(&THREE), &all), None);
    assert_eq!(next(&rows(&THREE), &have(&[], &[], 256)), None, "it is not founded");
    assert_eq!(next(&rows(&[]), &all), None, "the map is older than the group");
}

#[test]
fn a_voter_is_replaced_by_learner_joint_change_and_row_in_this_order() {
    let mut rows = rows(&[(256, "a", true), (258, "c", true), (512, "b", true)]);
    let changing = Changing { slot: Slot(1), from: id(257), to: id(512) };
    rows.changing = Some(changing);
    let mut have = have(&[(256, "a"), (257, "b"), (258, "c")], &[], 256);
    let (done, end) = steps(&rows, have.clone());
    let expected = [
        Step::Change(MemberChange::AddLearner { replica: id(512), node: node("b") }),
        Step::Change(MemberChange::Replace { remove: id(257), add: id(512) }),
        Step::Finish(changing),
    ];
    assert_eq!(done, expected);
    assert_eq!(end.voters.keys().copied().collect::<BTreeSet<_>>(), rows.voters());

    // Killed after any step, another controller goes on with the rest.
    for killed in 0..2 {
        carry_out(&mut have, &expected[killed]);
        assert_eq!(steps(&rows, have.clone()).0, expected[killed + 1..]);
    }
}

#[test]
fn a_joint_membership_that_a_lost_leader_left_is_led_out_of() {
    let mut rows = rows(&[(256, "a", true), (258, "c", true), (512, "b", true)]);
    let changing = Changing { slot: Slot(1), from: id(257), to: id(512) };
    rows.changing = Some(changing);
    let joint = have(&[(256, "a"), (257, "b"), (258, "c"), (512, "b")], &[], 256);
    let (done, end) = steps(&rows, joint);
    assert_eq!(done, [Step::Change(MemberChange::SetVoters(rows.voters())), Step::Finish(changing)]);
    assert_eq!(end.voters.keys().copied().collect::<BTreeSet<_>>(), rows.voters());
}

#[test]
fn a_learner_that_has_not_caught_up_is_waited_for() {
    let mut rows = rows(&[(256, "a", true), (258, "c", true), (512, "b", true)]);
    rows.changing = Some(Changing { slot: Slot(1), from: id(257), to: id(512) });
    let mut have = have(&[(256, "a"), (257, "b"), (258, "c")], &[(512, "b")], 256);
    have.caught_up.remove(&id(512));
    assert_eq!(next(&rows, &have), None);
}

#[test]
fn a_member_without_a_vote_is_replaced_too() {
    let mut rows = rows(&[(256, "a", true), (600, "d", false)]);
    let changing = Changing { slot: Slot(1), from: id(257), to: id(600) };
    rows.changing = Some(changing);
    let (done, end) = steps(&rows, have(&[(256, "a")], &[(257, "d")], 256));
    assert_eq!(
        done,
        [
            Step::Change(MemberChange::AddLearner { replica: id(600), node: node("d") }),
            Step::Change(MemberChange::Remove { replica: id(257) }),
            Step::Finish(changing),
        ]
    );
    assert_eq!(end.learners.keys().copied().collect::<Vec<_>>(), [id(600)]);
}

#[test]
fn a_member_that_is_lost_while_it_comes_gives_way_to_a_later_one() {
    let mut rows = rows(&[(256, "a", true), (258, "c", true), (700, "b", true)]);
    rows.changing = Some(Changing { slot: Slot(1), from: id(257), to: id(700) });
    // As a learner, and as a voter already.
    for begun in [
        have(&[(256, "a"), (257, "b"), (258, "c")], &[(512, "b")], 256),
        have(&[(256, "a"), (512, "b"), (258, "c")], &[], 256),
    ] {
        let (_, end) = steps(&rows, begun);
        assert_eq!(end.voters.keys().copied().collect::<BTreeSet<_>>(), rows.voters());
        assert!(end.learners.is_empty());
    }
}

#[test]
fn old_rows_bring_no_earlier_replica_back() {
    let now = have(&[(256, "a"), (512, "b"), (258, "c")], &[], 256);
    assert_eq!(next(&rows(&THREE), &now), None);
}

#[test]
fn the_cluster_group_grows_and_moves_its_votes_one_at_a_time() {
    let founders: Vec<(u64, &str)> = vec![(1, "a"), (2, "b"), (3, "c")];
    let mut grown = THREE.map(|(replica, name, voter)| (replica - 255, name, voter)).to_vec();
    grown.extend([(1024, "d", true), (1280, "e", true), (1536, "f", false)]);
    let (done, end) = steps(&rows(&grown), have(&founders, &[], 1));
    assert_eq!(end.voters.len(), 5);
    assert_eq!(end.learners.keys().copied().collect::<Vec<_>>(), [id(1536)]);
    let mut sizes: Vec<usize> = done
        .iter()
        .filter_map(|step| match step {
            Step::Change(MemberChange::SetVoters(voters)) => Some(voters.len()),
            _ => None,
        })
        .collect();
    sizes.dedup();
    assert_eq!(sizes, [4, 5]);

    // A vote moves from one node to another; the leader that loses its own hands over first.
    let moved = [(1, "a", false), (2, "b", true), (3, "c", true), (1024, "d", true)];
    let (done, end) = steps(&rows(&moved), have(&founders, &[(1024, "d")], 1));
    assert!(matches!(done[0], Step::HandOver(_)), "{done:?}");
    assert_eq!(end.voters.keys().copied().collect::<Vec<_>>(), [id(2), id(3), id(1024)]);
    assert_eq!(end.learners.keys().copied().collect::<Vec<_>>(), [id(1)]);
}
