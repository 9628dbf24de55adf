//! Files with users, rules, bans and hashes as they should never be: damaged at random. Reading them ends with what they say or with an
//! error. So do messages of SCRAM and answers of servers that are asked, and no damaged proof counts; tokens and their keys have this noise in tests of their own. And rules in any order, of which the first lines never allow more than all of them. The seed is in each message.

use std::sync::Arc;

use mqtt_codec::QoS;
use session_store::authentication::{Exchange, Step};

use super::Principal;
use super::acl::Rules;
use super::bans::Bans;
use super::hash::PasswordHash;
use super::hook::Said;
use super::scram::{Mechanism, Scram};
use super::users::Users;

const SEED: u64 = 20_261_121;
/// Damaged forms of each text.
const FORMS: usize = 400;

const RULES: &str = "group staff ann \"bob b\"\ndeny all a/secret/#\nallow publish a/%u/+ group=staff qos=1 retain=no\n\
                     allow all $SYS/%c client=c1\nallow subscribe é/# address=10.0.0.0/8 cn=device\nallow all b anonymous\n";
const MOSQUITTO: &str =
    "topic read a/#\nuser ann\ntopic write b/é\ntopic deny b/c\npattern readwrite dev/%c/%u\n";
const USERS: &str =
    "ann:$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";
const SCRAM: &str = "ann:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n";
const ANSWER: &str =
    r#"{"result":"allow","user":"ann","groups":["a","b"],"acl":{"publish":["a/%u/#"]},"expire_at":2000.5}"#;
const BANS: &str = "address 10.0.0.0/8\nuser \"ann b\" until=2027-01-01T00:00:00Z\nclient c-1\n";

/// Numbers that follow from the seed (SplitMix64).
pub(super) struct Noise(u64);

impl Noise {
    /// The one that all tests have.
    pub(super) fn new() -> Self {
        Self(SEED)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    /// The text with some characters lost, doubled, swapped for others, or moved.
    pub(super) fn damaged(&mut self, text: &str) -> String {
        const OTHERS: [char; 14] = ['#', '+', '/', '%', '"', '\\', '$', ':', '=', ' ', '\n', '\0', 'é', '9'];
        let mut characters: Vec<char> = text.chars().collect();
        for _ in 0..=self.below(6) {
            let at = self.below(characters.len());
            match self.below(4) {
                0 => drop(characters.remove(at)),
                1 => characters.insert(at, OTHERS[self.below(OTHERS.len())]),
                2 => characters[at] = OTHERS[self.below(OTHERS.len())],
                _ => {
                    let other = self.below(characters.len());
                    characters.swap(at, other);
                }
            }
        }
        characters.into_iter().collect()
    }
}

#[test]
fn damaged_files_are_read_or_refused() {
    let mut noise = Noise::new();
    let (mut read, mut refused) = (0, 0);
    let mut note = |found: Result<(), String>| match found {
        Ok(()) => read += 1,
        Err(why) => {
            assert!(!why.is_empty());
            refused += 1;
        }
    };
    for _ in 0..FORMS {
        note(Rules::parse(&noise.damaged(RULES)).map(drop));
        note(Rules::parse_mosquitto(&noise.damaged(MOSQUITTO)).map(drop));
        note(Bans::parse(&noise.damaged(BANS)).map(drop));
        note(Users::parse(&noise.damaged(SCRAM)).map(drop).map_err(|why| why.to_string()));
        note(Said::parse(noise.damaged(ANSWER).as_bytes(), None, 1_000.0).map(drop));
        note(Users::parse(&noise.damaged(USERS)).map(drop).map_err(|why| why.to_string()));
        let hash = USERS.trim_end().trim_start_matches("ann:");
        note(PasswordHash::parse(&noise.damaged(hash)).map(drop).map_err(|why| why.to_string()));
    }
    assert!(read > FORMS / 4 && refused > FORMS / 4, "{read} read, {refused} refused, seed {SEED}");
}

#[test]
fn damaged_messages_show_nothing() {
    const FIRST: &str = "n,,n=ann,r=rOprNGfwEbeRWgbNEkqO";
    let mut noise = Noise::new();
    let users = Arc::new(Users::parse(SCRAM).unwrap());
    let (mut challenged, mut refused) = (0, 0);
    for _ in 0..FORMS {
        let mut scram = Scram::new(Mechanism::Sha256, Arc::clone(&users));
        let Step::Challenge(challenge) = scram.step(noise.damaged(FIRST).as_bytes()) else {
            refused += 1;
            continue;
        };
        challenged += 1;
        let challenge = String::from_utf8(challenge.to_vec()).unwrap();
        let nonce = challenge.split(',').next().unwrap();
        let last = format!("c=biws,{nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let last = if challenged % 2 == 0 { last } else { noise.damaged(&last) };
        assert_eq!(scram.step(last.as_bytes()), Step::Rejected, "{last}, seed {SEED}");
    }
    assert!(challenged > FORMS / 10 && refused > FORMS / 10, "{challenged} and {refused}, seed {SEED}");
}

/// Who is asked about, and as which client.
fn all() -> Vec<(Principal, &'static str)> {
    let user = |name: &str| Principal { user: Some(name.into()), ..Principal::default() };
    let device = Principal {
        address: Some("10.1.2.3".parse().unwrap()),
        common_name: Some("device".into()),
        ..Principal::default()
    };
    vec![(user("ann"), "c1"), (user("bob b"), "c2"), (Principal::default(), "c1"), (device, "c3")]
}

/// What is cut off a file at the end of a line takes rights away and never adds any: `file` refuses a part of a line.
#[test]
fn the_first_lines_never_allow_more_than_all_of_them() {
    const TOPICS: [&str; 9] =
        ["a/secret/x", "a/ann/x", "a/bob b/x", "a/x", "$SYS/c1", "é/x", "b", "b/c", "a/secret"];
    let mut noise = Noise::new();
    let (group, rules) = RULES.split_once('\n').unwrap();
    for _ in 0..FORMS {
        let mut lines: Vec<&str> = rules.lines().collect();
        lines.sort_by_cached_key(|_| noise.below(1_000));
        lines.insert(0, group);
        let read = |count: usize| Rules::parse(&(lines[..count].join("\n") + "\n")).unwrap();
        let (part, whole) = (read(noise.below(lines.len())), read(lines.len()));
        for (who, client) in all() {
            let [part, whole] = [&part, &whole].map(|rules| rules.rights_of(&who, client));
            for topic in TOPICS.map(str::as_bytes) {
                for (qos, retain) in [(QoS::AtMostOnce, false), (QoS::ExactlyOnce, true)] {
                    let allowed = [&part, &whole].map(|rights| rights.may_publish(topic, qos, retain));
                    assert!(!allowed[0] || allowed[1], "{lines:?}: {who:?} {topic:?}, seed {SEED}");
                }
                let reads = [&part, &whole].map(|rights| rights.may_receive(topic));
                assert!(!reads[0] || reads[1], "{lines:?}: {who:?} {topic:?}, seed {SEED}");
            }
        }
    }
}
