//! Tests of the store: what is written is there after it was opened again, and no damage to its files is taken
//! for a state.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tempfile::TempDir;

use super::*;

const GROUP: GroupId = GroupId(3);

type State = BTreeMap<Vec<u8>, Bytes>;

/// A folder in memory, where there is one: syncs cost nothing there.
fn folder() -> TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { TempDir::new_in(shm).unwrap() } else { TempDir::new().unwrap() }
}

fn loaded(store: &Store, group: GroupId) -> Result<Option<(Written, State)>, StoreError> {
    let Some(checkpoint) = store.load(group)? else { return Ok(None) };
    let written = checkpoint.written();
    let records: Result<Vec<_>, _> = checkpoint.collect();
    Ok(Some((written, records?.into_iter().map(|(key, value)| (key.to_vec(), value)).collect())))
}

/// Changes, and the same done to a state beside the store.
#[derive(Default)]
struct Model {
    state: State,
    changes: Changes,
}

impl Model {
    fn put(&mut self, key: &[u8], value: Vec<u8>) {
        self.state.insert(key.to_vec(), value.clone().into());
        self.changes.put(key.to_vec(), value.into());
    }

    fn remove(&mut self, key: &[u8]) {
        self.state.remove(key);
        self.changes.remove(key.to_vec());
    }

    fn write(&mut self, store: &mut Store, applied: &[u8]) -> Written {
        store.write(GROUP, &std::mem::take(&mut self.changes), applied).unwrap()
    }
}

/// Records of many sizes, some of them of several chunks.
fn filled(model: &mut Model, from: u32, to: u32) {
    for n in from..to {
        let len = (n as usize * 977) % 20_000;
        model.put(&n.to_be_bytes(), vec![n.to_le_bytes()[0]; len]);
    }
}

#[test]
fn what_was_written_is_there_after_opening_again() {
    let folder = folder();
    let mut model = Model::default();
    let mut store = Store::open(folder.path()).unwrap();
    assert!(store.load(GROUP).unwrap().is_none(), "nothing was written");
    filled(&mut model, 0, 100);
    model.write(&mut store, b"one");
    filled(&mut model, 50, 60);
    model.put(b"", vec![]);
    model.put(&[9; 70_000], vec![1; 70_000]);
    model.put(&7_u32.to_be_bytes(), vec![2]);
    model.remove(&20_u32.to_be_bytes());
    model.remove(b"never there");
    let written = model.write(&mut store, b"two");
    assert_eq!(written.applied, b"two");
    drop(store);
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(loaded(&store, GROUP).unwrap(), Some((written, model.state)));
    assert!(store.load(GroupId(4)).unwrap().is_none(), "another group has nothing");
}

#[test]
fn the_hash_depends_on_the_records_and_not_on_the_way_to_them() {
    let (first, second) = (folder(), folder());
    let mut one = Store::open(first.path()).unwrap();
    let mut two = Store::open(second.path()).unwrap();
    let mut model = Model::default();
    filled(&mut model, 0, 30);
    model.write(&mut one, b"a");
    for n in 10..30_u32 {
        model.remove(&n.to_be_bytes());
    }
    filled(&mut model, 25, 28);
    let written = model.write(&mut one, b"b");
    let mut changes = Changes::default();
    model.state.iter().for_each(|(key, value)| changes.put(key.clone(), value.clone()));
    assert_eq!(two.write(GROUP, &changes, b"b").unwrap(), written);
    changes.put(b"one more".to_vec(), Bytes::new());
    assert_ne!(two.write(GROUP, &changes, b"b").unwrap().hash, written.hash);
}

#[test]
fn a_record_that_is_what_it_was_is_not_written() {
    let folder = folder();
    let mut store = Store::open(folder.path()).unwrap();
    let mut model = Model::default();
    filled(&mut model, 0, 30);
    let changes = model.changes.clone();
    let written = model.write(&mut store, b"x");
    let tree = store.tree(GROUP, Slot::First).unwrap();
    let mut batch = Batch::default();
    let old = layout::read_meta(&tree, GROUP).unwrap().unwrap();
    let meta = plan(&tree, &old, &changes, &mut batch, GROUP).unwrap();
    assert_eq!(format!("{batch:?}"), format!("{:?}", Batch::default()));
    assert_eq!((meta.hash, meta.count), (written.hash, 30));
}

#[test]
fn random_checkpoints_add_up() {
    let operation = (0_u8..30, prop_oneof![Just(None), (0_usize..10_000).prop_map(Some)]);
    let checkpoints = proptest::collection::vec(proptest::collection::vec(operation, 0..12), 1..6);
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let run = runner.run(&checkpoints, |checkpoints| {
        let folder = folder();
        let mut store = Store::open(folder.path()).unwrap();
        let mut model = Model::default();
        let mut written = None;
        for (number, operations) in checkpoints.into_iter().enumerate() {
            for (key, value) in operations {
                match value {
                    Some(len) => model.put(&[key], vec![u8::try_from(number).unwrap(); len]),
                    None => model.remove(&[key]),
                }
            }
            written = Some(model.write(&mut store, &[u8::try_from(number).unwrap()]));
        }
        prop_assert_eq!(&loaded(&store, GROUP).unwrap(), &Some((written.unwrap(), model.state)));
        Ok(())
    });
    run.unwrap();
}

#[test]
fn a_group_that_is_dropped_is_gone_and_the_others_stay() {
    let folder = folder();
    let mut store = Store::open(folder.path()).unwrap();
    let mut model = Model::default();
    filled(&mut model, 0, 40);
    let changes = model.changes.clone();
    let written = model.write(&mut store, b"x");
    store.write(GroupId(1), &changes, b"x").unwrap();
    store.drop_group(GroupId(1)).unwrap();
    drop(store);
    let mut store = Store::open(folder.path()).unwrap();
    assert!(store.load(GroupId(1)).unwrap().is_none());
    assert_eq!(loaded(&store, GROUP).unwrap(), Some((written, model.state)));
    store.write(GroupId(1), &Changes::default(), b"again").unwrap();
    assert_eq!(store.load(GroupId(1)).unwrap().unwrap().len(), 0);
}

/// A store with a checkpoint, and that as a file.
fn exported(folder: &Path) -> (Store, Model, Snapshot) {
    let mut store = Store::open(&folder.join("store")).unwrap();
    let mut model = Model::default();
    filled(&mut model, 0, 60);
    let written = model.write(&mut store, b"position");
    let snapshot = store.export(GROUP, &folder.join("a.snapshot")).unwrap().unwrap();
    assert_eq!((&snapshot.applied, snapshot.hash), (&written.applied, written.hash));
    (store, model, snapshot)
}

#[test]
fn a_snapshot_takes_the_place_of_what_was_there() {
    let folder = folder();
    let (_store, model, snapshot) = exported(folder.path());
    let sent: Vec<u8> = snapshot.chunks().unwrap().flat_map(Result::unwrap).collect();
    assert_eq!(sent.len() as u64, snapshot.bytes);
    let received = folder.path().join("b.snapshot");
    fs::write(&received, sent).unwrap();
    let other = folder.path().join("other");
    let mut store = Store::open(&other).unwrap();
    for round in 0..3_u8 {
        let mut changes = Changes::default();
        changes.put(vec![round], Bytes::from_static(b"to be replaced"));
        store.write(GROUP, &changes, b"old").unwrap();
        let written = store.import(GROUP, &received).unwrap();
        assert_eq!(loaded(&store, GROUP).unwrap(), Some((written, model.state.clone())));
        assert_eq!(store.db.tree_names().len(), 2, "the group's tree, and sled's own");
    }
    drop(store);
    let store = Store::open(&other).unwrap();
    assert_eq!(loaded(&store, GROUP).unwrap().unwrap().1, model.state);
}

#[test]
fn a_damaged_snapshot_changes_nothing() {
    let folder = folder();
    let (mut store, model, snapshot) = exported(folder.path());
    let whole = fs::read(&snapshot.path).unwrap();
    let cut = whole[..whole.len() - 1].to_vec();
    let extended = [whole.clone(), vec![0]].concat();
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let lengths = flipped(whole.len() / 2);
    let cases = [cut, extended, Vec::new(), lengths].into_iter().chain((0..64).map(flipped));
    for (case, bytes) in cases.enumerate() {
        fs::write(&snapshot.path, bytes).unwrap();
        let error = store.import(GROUP, &snapshot.path).unwrap_err();
        assert!(matches!(error, StoreError::Snapshot { .. }), "case {case}: {error}");
    }
    fs::write(&snapshot.path, whole).unwrap();
    assert_eq!(loaded(&store, GROUP).unwrap().unwrap().1, model.state);
    store.import(GROUP, &snapshot.path).unwrap();
}

/// What is left of an import that a crash cut off before its last batch is never taken for a checkpoint, nor
/// for a part of one.
#[test]
fn half_an_import_does_not_count() {
    let folder = folder();
    let (mut store, model, snapshot) = exported(folder.path());
    let leave_half = |store: &Store, group, slot| {
        let mut batch = Batch::default();
        layout::put(b"half", b"of it", Head::of(b"half", b"of it"), &mut batch);
        store.tree(group, slot).unwrap().apply_batch(batch).unwrap();
    };
    leave_half(&store, GROUP, Slot::Second);
    leave_half(&store, GroupId(9), Slot::First);
    drop(store);
    store = Store::open(&folder.path().join("store")).unwrap();
    assert_eq!(loaded(&store, GROUP).unwrap().unwrap().1, model.state);
    assert!(store.load(GroupId(9)).unwrap().is_none());
    for group in [GROUP, GroupId(9)] {
        let written = store.import(group, &snapshot.path).unwrap();
        assert_eq!(loaded(&store, group).unwrap(), Some((written, model.state.clone())));
    }
    leave_half(&store, GroupId(10), Slot::First);
    let mut changes = Changes::default();
    changes.put(b"half".to_vec(), Bytes::from_static(b"of another"));
    store.write(GroupId(10), &changes, b"").unwrap();
    assert_eq!(loaded(&store, GroupId(10)).unwrap().unwrap().1.len(), 1);
}

#[test]
fn a_store_is_opened_once() {
    let folder = folder();
    let _store = Store::open(folder.path()).unwrap();
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
}

#[test]
fn nothing_is_written_after_a_failed_write() {
    let folder = folder();
    let mut store = Store::open(folder.path()).unwrap();
    store.write(GROUP, &Changes::default(), b"").unwrap();
    fs::remove_dir(folder.path().join("blobs")).unwrap();
    let error = store.write(GROUP, &Changes::default(), b"").unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
    fs::create_dir(folder.path().join("blobs")).unwrap();
    let error = store.write(GROUP, &Changes::default(), b"").unwrap_err();
    assert!(matches!(error, StoreError::Poisoned), "{error}");
    assert!(matches!(store.drop_group(GROUP), Err(StoreError::Poisoned)));
}

/// sled has checksums of its own, which find most damage first: here what it gives back is wrong.
#[test]
fn whatever_sled_loses_or_changes_is_seen() {
    let folder = folder();
    let mut store = Store::open(folder.path()).unwrap();
    let mut model = Model::default();
    filled(&mut model, 0, 8);
    model.write(&mut store, b"x");
    let tree = store.tree(GROUP, Slot::First).unwrap();
    let refused = |what: &str, key: &[u8]| {
        let error = loaded(&store, GROUP).expect_err(what);
        assert!(error.is_damage(), "{what} of {key:?}: {error}");
    };
    for entry in tree.iter() {
        let (key, value) = entry.unwrap();
        tree.remove(&key).unwrap();
        if key == layout::META_KEY {
            assert_eq!(loaded(&store, GROUP).unwrap(), None);
        } else {
            refused("loss", &key);
        }
        for at in [0, 11, value.len() / 2, value.len() - 1] {
            let mut changed = value.to_vec();
            changed[at.min(value.len() - 1)] ^= 4;
            tree.insert(&key, changed).unwrap();
            refused("change", &key);
        }
        tree.insert(&key, &value[..value.len() - 1]).unwrap();
        refused("cut", &key);
        tree.insert(&key, value).unwrap();
    }
    tree.insert(layout::chunk_key(b"foreign", 0), [0; 12].as_slice()).unwrap();
    refused("foreign entry", b"");
    tree.remove(layout::chunk_key(b"foreign", 0)).unwrap();
    let mut batch = Batch::default();
    layout::put(b"whole", b"and foreign", Head::of(b"whole", b"and foreign"), &mut batch);
    tree.apply_batch(batch).unwrap();
    refused("foreign record", b"");
    tree.remove(layout::chunk_key(b"whole", 0)).unwrap();
    assert_eq!(loaded(&store, GROUP).unwrap().unwrap().1, model.state);
}

#[test]
fn single_records_are_read_beside_writes_and_checked() {
    let folder = folder();
    let mut store = Store::open(folder.path()).unwrap();
    let reader = store.reader();
    let mut model = Model::default();
    filled(&mut model, 0, 20);
    model.write(&mut store, b"x");
    for (key, value) in &model.state {
        assert_eq!(reader.read(GROUP, key).unwrap(), value);
    }
    let snapshot = folder.path().join("s");
    store.export(GROUP, &snapshot).unwrap();
    store.import(GROUP, &snapshot).unwrap();
    let (key, value) = model.state.first_key_value().unwrap();
    assert_eq!(reader.read(GROUP, key).unwrap(), value, "also where an import put it");
    assert!(reader.read(GROUP, b"never there").unwrap_err().is_damage());
    assert!(reader.read(GroupId(8), key).unwrap_err().is_damage());
    let tree = store.tree(GROUP, Slot::Second).unwrap();
    let mut wrong = tree.get(layout::chunk_key(key, 0)).unwrap().unwrap().to_vec();
    wrong[3] ^= 1;
    tree.insert(layout::chunk_key(key, 0), wrong).unwrap();
    assert!(reader.read(GROUP, key).unwrap_err().is_damage());
}

/// The files of a store, without sled's empty folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("blobs")).unwrap();
    for file in files(from) {
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

/// What became of a damaged store.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Refused,
    Lost,
    Older,
    Unharmed,
}

/// Opens a damaged store as a node does; panics if it gives a state that was never written as what it says.
fn judge(folder: &Path, history: &[(Written, State)]) -> Outcome {
    let store = match Store::open(folder) {
        Ok(store) => store,
        Err(error) => {
            assert!(error.is_damage(), "{error}");
            return Outcome::Refused;
        }
    };
    match loaded(&store, GROUP) {
        Err(error) => {
            assert!(error.is_damage(), "{error}");
            Outcome::Refused
        }
        Ok(None) => Outcome::Lost,
        Ok(Some(found)) => {
            let at = history.iter().position(|known| *known == found);
            let at = at.expect("a state that was never written, with the position and hash of another");
            if at + 1 == history.len() { Outcome::Unharmed } else { Outcome::Older }
        }
    }
}

/// A store with some checkpoints, of about `records` records in all, and each of its states.
fn history(folder: &Path, records: u32) -> Vec<(Written, State)> {
    let mut store = Store::open(folder).unwrap();
    let mut model = Model::default();
    let mut history = Vec::new();
    for part in 0..4_u32 {
        filled(&mut model, part * records / 4, (part + 1) * records / 4);
        model.remove(&(part * 3).to_be_bytes());
        let written = model.write(&mut store, &part.to_be_bytes());
        history.push((written, model.state.clone()));
    }
    history
}

/// A way to damage a file, at a place of it.
type Damage = (&'static str, fn(&mut Vec<u8>, usize));

#[test]
fn no_damage_is_taken_for_a_state() {
    const DAMAGES: [Damage; 4] = [
        ("a flipped bit", |bytes, at| bytes[at] ^= 1 << (at % 8)),
        ("a file that is cut", |bytes, at| bytes.truncate(at)),
        ("a page of zeros", |bytes, at| bytes.iter_mut().skip(at & !4_095).take(4_096).for_each(|b| *b = 0)),
        ("a file with zeros behind it", |bytes, at| bytes.resize(bytes.len() + at, 0)),
    ];
    let root = folder();
    let mut outcomes = BTreeMap::new();
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    for (size, records) in [("young", 30), ("old", 400)] {
        let whole = root.path().join(size);
        let history = history(&whole, records);
        for round in 0..12 {
            for (name, damage) in DAMAGES {
                for file in files(&whole) {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let damaged = root.path().join("damaged");
                    copy(&whole, &damaged);
                    let target = damaged.join(file.file_name().unwrap());
                    let mut bytes = fs::read(&target).unwrap();
                    // Most of a young file is empty: the first rounds hit its beginning.
                    let reach = if round < 6 { bytes.len().min(8_192) } else { bytes.len() };
                    damage(&mut bytes, usize::try_from(random % reach.max(1) as u64).unwrap());
                    fs::write(&target, bytes).unwrap();
                    *outcomes.entry((size, name, judge(&damaged, &history))).or_insert(0) += 1;
                    fs::remove_dir_all(&damaged).unwrap();
                }
            }
        }
    }
    let seen = |wanted| outcomes.keys().any(|(_, _, outcome)| *outcome == wanted);
    assert!(seen(Outcome::Refused) && seen(Outcome::Lost), "the test did not hit anything: {outcomes:?}");
}

#[test]
fn a_damaged_store_is_moved_aside_and_a_new_one_begins() {
    let folder = folder();
    let path = folder.path().join("store");
    for _ in 0..2 {
        history(&path, 30);
        let aside = Store::set_aside(&path).unwrap();
        assert!(aside.join("db").is_file() && !path.exists());
        assert!(Store::open(&path).unwrap().load(GROUP).unwrap().is_none());
    }
}
