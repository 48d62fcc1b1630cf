//! What is wrong with a file or a key is refused, and left as it is.

use super::*;

/// A store with a value, closed.
async fn closed() -> (TempDir, Vec<u8>) {
    let folder = folder();
    let store = open(&folder).unwrap();
    for number in 0..20 {
        let name = key(&format!("key/{number}"));
        store.put(&name, CANARY.as_bytes()).await.unwrap();
    }
    drop(store);
    let bytes = fs::read(file(&folder, "store.redb")).unwrap();
    (folder, bytes)
}

/// Refused, with every file as it was.
fn refusal(folder: &TempDir) -> OpenError {
    let files = || {
        let names = fs::read_dir(file(folder, "")).unwrap();
        let files = names.map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = files.map(|path| (fs::read(&path).ok(), path)).collect();
        files.sort_by(|one, other| one.1.cmp(&other.1));
        files
    };
    let before = files();
    let error = open(folder).unwrap_err();
    assert!(before == files(), "changed: {error}");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(CANARY), "{shown}");
    error
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_as_it_is() {
    let (folder, whole) = closed().await;
    let path = file(&folder, "store.redb");
    let half_zero = [&whole[..4096], &vec![0; whole.len() - 4096]].concat();
    let mut cases = vec![
        ("empty", Vec::new()),
        ("garbage", b"not a store at all".repeat(400)),
        ("short garbage", vec![b'x']),
        ("zeros", vec![0; whole.len()]),
        ("head only", half_zero),
        (
            "garbage after the magic number",
            [&whole[..9], &[0xa5; 9000][..]].concat(),
        ),
    ];
    for length in [
        5,
        9,
        64,
        320,
        4096,
        8192,
        whole.len() / 2,
        whole.len() - 4096,
    ] {
        cases.push(("cut short", whole[..length].to_vec()));
    }
    for (name, bytes) in cases {
        fs::write(&path, &bytes).unwrap();
        let error = refusal(&folder);
        assert!(
            matches!(error, OpenError::Damaged { .. }),
            "{name}: {error}"
        );
        let told = error.to_string();
        assert!(
            told.contains("store.redb") && told.contains("move it away"),
            "{told}"
        );
    }
    fs::write(&path, &whole).unwrap();
    open(&folder).unwrap();
}

/// Of each part of the file a byte, then of each part that matters more.
#[tokio::test]
async fn no_changed_byte_gives_another_value() {
    let (folder, whole) = closed().await;
    let path = file(&folder, "store.redb");
    let places = (0..320).step_by(3).chain((320..whole.len()).step_by(4099));
    let mut refused = 0;
    for place in places.filter(|&place| whole[place] != 0 || place < 320) {
        let mut changed = whole.clone();
        changed[place] ^= 0x11;
        fs::write(&path, &changed).unwrap();
        let store = match open(&folder) {
            Err(error) => {
                assert!(fs::read(&path).unwrap() == changed, "changed: {error}");
                refused += 1;
                continue;
            }
            Ok(store) => store,
        };
        for number in 0..20 {
            let value = text(&store, &format!("key/{number}")).await;
            assert_eq!(value.as_deref(), Some(CANARY), "byte {place}");
        }
    }
    assert!(refused > 10, "{refused}");
}

#[tokio::test]
async fn what_is_no_file_is_refused() {
    let (folder, whole) = closed().await;
    let path = file(&folder, "store.redb");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(refusal(&folder).to_string().contains("it is no file"));
    fs::remove_dir(&path).unwrap();
    std::os::unix::fs::symlink(folder.path().join("gone"), &path).unwrap();
    let error = refusal(&folder);
    assert!(matches!(error, OpenError::Failed { .. }), "{error}");
    fs::write(folder.path().join("gone"), whole).unwrap();
    open(&folder).unwrap();
}

#[tokio::test]
async fn another_key_is_refused() {
    let (folder, _) = closed().await;
    let path = file(&folder, "");
    let before = fs::read(file(&folder, "store.redb")).unwrap();
    let error = Store::file(&path, Some(&secret_key(1))).unwrap_err();
    let told = error.to_string();
    assert!(matches!(error, OpenError::KeyWrong { .. }), "{told}");
    assert!(
        told.contains("`store.key` (env KEY)") && told.contains("store.redb"),
        "{told}"
    );
    assert!(before == fs::read(file(&folder, "store.redb")).unwrap());

    let right = fs::read(file(&folder, "store.key")).unwrap();
    fs::write(file(&folder, "store.key"), secret_key(2).expose()).unwrap();
    let error = refusal(&folder);
    assert!(matches!(error, OpenError::KeyWrong { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains(secret_key(2).expose()));
    fs::write(file(&folder, "store.key"), right).unwrap();
    open(&folder).unwrap();
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let (folder, _) = closed().await;
    let path = file(&folder, "store.key");
    let long = "A".repeat(5000);
    for wrong in [&b""[..], CANARY.as_bytes(), b"\xff\xfe", long.as_bytes()] {
        fs::write(&path, wrong).unwrap();
        let error = refusal(&folder);
        assert!(matches!(error, OpenError::KeyInvalid { .. }), "{error}");
        assert!(
            error.to_string().contains("put the right key file back"),
            "{error}"
        );
    }
    let wrong = Secret::new(CANARY, Origin::Env("KEY".into()));
    let error = Store::file(&file(&folder, ""), Some(&wrong)).unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(
        told.contains("openssl rand -base64 32") && !told.contains(CANARY),
        "{told}"
    );
}

#[tokio::test]
async fn a_key_that_is_gone_is_never_made_again() {
    let (folder, _) = closed().await;
    let path = file(&folder, "store.key");
    let right = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let error = refusal(&folder);
    assert!(matches!(error, OpenError::KeyMissing { .. }), "{error}");
    assert!(
        error.to_string().contains("put the key file back"),
        "{error}"
    );
    fs::write(&path, right).unwrap();
    set_mode(&path, 0o600);
    open(&folder).unwrap();
}

#[tokio::test]
async fn a_start_that_was_cut_short_is_made_good() {
    let folder = folder();
    fs::create_dir_all(file(&folder, "")).unwrap();
    set_mode(&file(&folder, ""), 0o700);
    fs::write(file(&folder, "store.key.new"), "half").unwrap();
    fs::write(file(&folder, "store.redb.new"), "half").unwrap();
    drop(open(&folder).unwrap());
    // The key was made, and the store was not.
    let made = fs::read(file(&folder, "store.key")).unwrap();
    fs::remove_file(file(&folder, "store.redb")).unwrap();
    let store = open(&folder).unwrap();
    store.put(&key("a"), b"value").await.unwrap();
    assert!(made == fs::read(file(&folder, "store.key")).unwrap());
}
