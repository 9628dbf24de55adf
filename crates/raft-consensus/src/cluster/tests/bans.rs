//! Tests of bans: what each command does to them, how many there can be, and that all who follow know the same ones.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::stored::{Records, restore, write};
use super::*;

fn address(text: &str) -> Banned {
    Banned::Address(text.parse().unwrap())
}

fn network(text: &str, bits: u8) -> Banned {
    Banned::Network(text.parse().unwrap(), bits)
}

fn ban(whom: Banned, until: Option<u64>) -> Command {
    Command::Ban(Ban { whom, until: until.map(Millis), why: "a reason".into() })
}

fn user(name: &str) -> Banned {
    Banned::User(name.into())
}

/// A cluster whose members know bans.
fn knowing() -> Vec<Command> {
    vec![begin_with(run(1, 1), 1, ACCESS_LEVEL), Command::RaiseLevel(ACCESS_LEVEL)]
}

/// One of each kind, for fixtures.
pub(super) fn sample() -> Vec<Command> {
    let mut commands = vec![Command::Found(FOUNDING)];
    commands.extend(knowing());
    commands.extend([
        ban(address("192.0.2.7"), None),
        ban(address("2001:db8::7"), Some(1_900_000_000_000)),
        ban(network("10.1.0.0", 16), None),
        ban(network("2001:db8::", 32), None),
        ban(user("eve"), None),
        ban(Banned::Client("c-7".into()), Some(u64::MAX)),
        ban(user("bob"), None),
        Command::Unban(user("bob")),
    ]);
    commands
}

/// Few of them, so that they meet.
pub(super) fn change() -> impl Strategy<Value = Command> {
    let whom = prop_oneof![
        (0..3_u8).prop_map(|last| Banned::Address(IpAddr::from([192, 0, 2, last]))),
        (0..3_u8).prop_map(|second| Banned::Network(IpAddr::from([10, second, 0, 0]), 16)),
        "[a-c]{0,1}".prop_map(|name| Banned::User(name.into())),
        "[a-c]{1,80}".prop_map(|id| Banned::Client(id.into())),
    ];
    let ban = (whom.clone(), prop::option::of(0..20_u64), "[a-c]{0,2}")
        .prop_map(|(whom, until, why)| Command::Ban(Ban { whom, until: until.map(Millis), why: why.into() }));
    prop_oneof![3 => ban, 1 => whom.prop_map(Command::Unban)]
}

#[test]
fn nobody_is_banned_before_all_members_know_what_that_is() {
    let mut cluster = cluster(&[begin(1, 1)]);
    for command in [ban(user("eve"), None), Command::Unban(user("eve"))] {
        assert_eq!(refusal(&cluster, &command), Refusal::NotYet(ACCESS_LEVEL));
    }
    cluster.apply(Millis(2), &begin_with(run(1, 2), 2, ACCESS_LEVEL)).unwrap();
    cluster.apply(Millis(2), &Command::RaiseLevel(ACCESS_LEVEL)).unwrap();
    assert_eq!(cluster.standing(&ban(user("eve"), None)), Standing::Open);
    assert_eq!(cluster.standing(&Command::Unban(user("eve"))), Standing::InForce);
}

#[test]
fn who_is_banned_again_is_banned_as_was_said_last() {
    let mut cluster = cluster(&knowing());
    for until in [None, Some(50), Some(40)] {
        cluster.apply(Millis(3), &ban(user("eve"), until)).unwrap();
        let bans: Vec<Ban> = cluster.bans().collect();
        assert_eq!(bans.len(), 1);
        assert_eq!(bans[0].until, until.map(Millis));
    }
    cluster.apply(Millis(3), &ban(user("eve"), Some(2))).unwrap();
    assert_eq!(cluster.bans().next().unwrap().until, Some(Millis(40)), "nothing is kept of what is over");
    cluster.apply(Millis(3), &Command::Unban(user("eve"))).unwrap();
    assert_eq!(cluster.bans().count(), 0);
}

#[test]
fn a_ban_is_of_somebody_and_is_written_in_one_way() {
    let cluster = cluster(&knowing());
    let long = "n".repeat(BANNED_BYTES_MAX + 1);
    for wrong in [
        user(""),
        user(&long),
        Banned::Client("".into()),
        Banned::Client(long.as_str().into()),
        address("::ffff:192.0.2.7"),
        network("10.1.0.0", 8),
        network("10.0.0.0", 33),
        network("2001:db8::1", 32),
        network("2001:db8::", 129),
    ] {
        assert_eq!(refusal(&cluster, &ban(wrong.clone(), None)), Refusal::NotToBan, "{wrong:?}");
    }
    for right in [user(&long[1..]), network("0.0.0.0", 0), network("10.0.0.1", 32), network("::", 0)] {
        assert_eq!(cluster.standing(&ban(right, None)), Standing::Open);
    }
    let why = "w".repeat(WHY_BYTES_MAX + 1).into();
    let wordy = Command::Ban(Ban { whom: user("eve"), until: None, why });
    assert_eq!(refusal(&cluster, &wordy), Refusal::WhyTooLong);
}

#[test]
fn there_is_room_for_so_many_and_those_that_are_over_make_some() {
    let mut cluster = cluster(&knowing());
    let number = |number: usize| u8::try_from(number % 256).unwrap();
    for at in 0..BANNED_NETWORKS_MAX {
        let whom = Banned::Network(IpAddr::from([10, number(at / 256), number(at), 0]), 24);
        cluster.apply(Millis(3), &ban(whom, (at == 0).then_some(9))).unwrap();
    }
    let one_more = ban(network("11.0.0.0", 24), None);
    assert_eq!(refusal(&cluster, &one_more), Refusal::TooManyBans);
    assert_eq!(
        cluster.standing(&ban(network("10.0.1.0", 24), Some(99))),
        Standing::Open,
        "one that is there"
    );
    cluster.apply(Millis(9), &Command::Tick).unwrap();
    let mut told = Vec::new();
    cluster.apply_telling(Millis(9), &one_more, &mut |change| told.push(change)).unwrap();
    assert_eq!(told[0], Change::Unbanned(network("10.0.0.0", 24)));
    assert!(matches!(told[1], Change::Banned(_)) && told.len() == 2);
    for at in BANNED_NETWORKS_MAX..BANS_MAX {
        cluster.apply(Millis(9), &ban(user(&format!("user {at}")), None)).unwrap();
    }
    assert_eq!(refusal(&cluster, &ban(user("eve"), None)), Refusal::TooManyBans);
    assert_eq!(cluster.validate(), Ok(()));
}

#[test]
fn the_names_of_all_bans_have_so_many_bytes() {
    let mut cluster = cluster(&knowing());
    let refused = (0..BANS_MAX).find(|at| {
        let name = format!("{at:0width$}", width = BANNED_BYTES_MAX);
        cluster.apply(Millis(9), &ban(user(&name), None)) == Err(Refusal::TooManyBans)
    });
    let most = BANS_BYTES_MAX / (BANNED_BYTES_MAX + 16);
    assert_eq!(refused, Some(most));
    assert_eq!(cluster.validate(), Ok(()));
}

#[test]
fn a_checkpoint_has_the_bans_that_changed_and_what_is_wrong_in_it_is_refused() {
    let mut state = cluster(&knowing());
    state.apply(Millis(3), &ban(user("eve"), None)).unwrap();
    let mut records = Records::new();
    write(&mut records, &state.take_changes());
    let key = b"B\0\0\0\0".as_slice();
    assert!(records.contains_key(key));
    assert_eq!(restore(&records).unwrap().digest(), state.digest());
    for bad in [b"B".as_slice(), b"B\0\0\0\0\0", b"B\0\0\0\x01"] {
        let mut records = records.clone();
        records.insert(bad.to_vec(), records[key].clone());
        assert!(restore(&records).is_err(), "{bad:?}");
    }
    state.apply(Millis(4), &Command::Unban(user("eve"))).unwrap();
    write(&mut records, &state.take_changes());
    assert!(!records.contains_key(key));
}

proptest! {
    /// Who follows knows what the state has, and so does who reads checkpoints.
    #[test]
    fn all_who_follow_have_the_same_bans(
        commands in proptest::collection::vec((0..20_u64, change(), any::<bool>()), 0..60),
    ) {
        let mut cluster = cluster(&knowing());
        let mut told: BTreeMap<Banned, Ban> = BTreeMap::new();
        let mut records = Records::new();
        for (now, command, checkpoint) in commands {
            let _answer = cluster.apply_telling(Millis(now), &command, &mut |change| match change {
                Change::Banned(ban) => drop(told.insert(ban.whom.clone(), ban)),
                Change::Unbanned(whom) => assert!(told.remove(&whom).is_some()),
                other => panic!("{other:?}"),
            });
            prop_assert_eq!(cluster.bans().collect::<Vec<_>>(), told.values().cloned().collect::<Vec<_>>());
            if checkpoint {
                write(&mut records, &cluster.take_changes());
                let read = restore(&records).unwrap();
                prop_assert_eq!(read.digest(), cluster.digest());
                prop_assert_eq!(read.validate(), Ok(()));
                cluster = read;
            }
        }
    }
}
