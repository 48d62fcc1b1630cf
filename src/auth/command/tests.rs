//! Commands against real programs.

use std::fs;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use tempfile::TempDir;

use super::*;

const CANARY: &str = "canary-45c48cce2e2d7fbd";

fn command(folder: impl Into<PathBuf>, words: &[&str]) -> Arc<Command> {
    Arc::new(Command {
        words: words.iter().map(|&word| word.into()).collect(),
        folder: folder.into(),
        ttl: Duration::from_mins(5),
        format: (Box::default(), Box::default()),
    })
}

fn shell(script: &str) -> Arc<Command> {
    command("/", &["sh", "-c", script])
}

/// Made by a program of its own: a file that this one has open for writing cannot be run, and whatever
/// is started meanwhile by another test holds it open.
fn script(folder: &TempDir, name: &str, mode: &str, text: &str) {
    let path = folder.path().join(name);
    let script = r#"printf '%s' "$2" > "$1" && chmod "$3" "$1""#;
    let made = std::process::Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(path)
        .args([text, mode])
        .status();
    assert!(made.unwrap().success());
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// The fault's text, in which nothing may be secret.
async fn fault(command: &Arc<Command>) -> String {
    let fault = run(command, now()).await.unwrap_err();
    let shown = format!("{fault} {fault:?}");
    assert!(!shown.contains(CANARY), "{shown}");
    fault.to_string()
}

#[tokio::test]
async fn the_output_is_the_secret() {
    let command = shell(&format!("echo {CANARY}"));
    let told = run(&command, now()).await.unwrap();
    assert_eq!(told.value.expose(), CANARY);
    assert_eq!(told.value.origin(), &Origin::Command(Arc::clone(&command)));
    assert_eq!(told.expires_at, now() + Duration::from_mins(5));
    let told = run(&shell(r"printf 'a\nb \303\244\n\n'"), now())
        .await
        .unwrap();
    assert_eq!(told.value.expose(), "a\nb \u{e4}\n");
}

#[tokio::test]
async fn debug_tells_no_secret() {
    let told = run(&shell("printf 'canary-%s' 45c48cce2e2d7fbd"), now())
        .await
        .unwrap();
    assert_eq!(told.value.expose(), CANARY);
    assert!(!format!("{told:?} {told:#?}").contains(CANARY));
}

#[tokio::test]
async fn json_is_read_and_the_format_applied() {
    let script = format!(r#"echo '{{"value": "{CANARY}", "expires_at": 1900000000}}'"#);
    let mut command = Arc::unwrap_or_clone(shell(&script));
    command.format = ("Token <".into(), ">".into());
    let told = run(&Arc::new(command), now()).await.unwrap();
    assert_eq!(told.value.expose(), format!("Token <{CANARY}>"));
    assert_eq!(
        told.expires_at,
        UNIX_EPOCH + Duration::from_secs(1_900_000_000)
    );
}

#[tokio::test]
async fn it_runs_in_its_folder_without_input() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("bin")).unwrap();
    script(
        &folder,
        "bin/tell",
        "755",
        "#!/bin/sh\npwd -P; cat; echo \"$1\"\n",
    );
    let command = command(folder.path(), &["bin/tell", "a b"]);
    let told = run(&command, now()).await.unwrap();
    let place = folder.path().canonicalize().unwrap();
    assert_eq!(told.value.expose(), format!("{}\na b", place.display()));
}

#[tokio::test]
async fn no_folder_is_the_working_directory() {
    let told = run(&command("", &["pwd", "-P"]), now()).await.unwrap();
    let here = std::env::current_dir().unwrap().canonicalize().unwrap();
    assert_eq!(told.value.expose(), here.to_str().unwrap());
}

#[tokio::test]
async fn a_program_that_cannot_be_run_is_told_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    script(&folder, "plain", "644", "#!/bin/sh\necho secret\n");
    script(&folder, "lost", "755", "#!/nonexistent/sh\necho secret\n");
    script(&folder, "bare", "755", "\u{1}\u{2} no program\n");
    for (words, told) in [
        (
            ["keybearer-nonexistent", CANARY],
            "or add its folder to `PATH`",
        ),
        (
            ["./nonexistent", CANARY],
            "the path starts at the configuration's folder",
        ),
        (
            ["./lost", CANARY],
            "a script's first line must name a program that is there",
        ),
        (["./plain", CANARY], "make it executable with `chmod +x`"),
        (["./bare", CANARY], "`#!/bin/sh`"),
    ] {
        let text = fault(&command(folder.path(), &words)).await;
        assert!(text.contains(told), "{text}");
        assert!(
            text.contains(&format!("command `{}` cannot be run", words[0])),
            "{text}"
        );
    }
    let text = fault(&command(folder.path().join("gone"), &["sh"])).await;
    assert!(text.contains("gone"), "{text}");
}

#[tokio::test]
async fn a_failure_tells_what_the_program_complains_of() {
    let text = fault(&shell(
        "echo 'no\tluck' >&2; printf '\\033[1mtoday\\n\\n' >&2; exit 3",
    ))
    .await;
    assert_eq!(
        text,
        "command `sh` failed with exit code 3: no luck;  [1mtoday"
    );
    let text = fault(&shell("exit 1")).await;
    assert_eq!(
        text,
        "command `sh` failed with exit code 1; it does not say why"
    );
    let text = fault(&shell("kill -TERM $$")).await;
    assert!(text.contains("was killed by signal 15"), "{text}");
    let text = fault(&shell("head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 1")).await;
    assert_eq!(
        text.matches('x').count(),
        LONGEST_COMPLAINT + "exit".matches('x').count()
    );
}

#[tokio::test]
async fn a_failure_never_tells_the_arguments() {
    let option = format!("--token={CANARY}");
    let lines = format!("first line\n  {CANARY}");
    for (argument, repeat) in [
        (CANARY, "\"$1\""),
        (&option, "\"$1\""),
        (&option, "\"invalid <${1#*=}>\""),
        (&lines, "\"$1\""),
        (&lines, "\"${1#*  }, the second line\""),
    ] {
        let script = format!("echo {repeat} >&2; echo 'no luck' >&2; exit 1");
        let words = ["sh", "-c", &script, "sh", argument];
        let text = fault(&command("", &words)).await;
        assert!(!text.contains(&CANARY[..10]), "{text}");
        assert!(
            text.contains("[redacted]") && text.ends_with("no luck"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_failure_never_tells_the_output() {
    for script in [
        format!("echo {CANARY}; exit 1"),
        format!("echo {CANARY}; kill -9 $$"),
        // A traced script, a secret in the middle of the complaint, and one that its cut goes through.
        format!("set -x; echo {CANARY}; exit 1"),
        format!("printf 'short-line\\n{CANARY}\\n'; echo 'not <{CANARY}>, but' >&2; exit 1"),
        format!("echo {CANARY}; printf '%01012d{CANARY}' 0 >&2; exit 1"),
        format!("echo '{{\"value\": \"{CANARY}\"}}'; echo {CANARY} >&2; exit 1"),
        format!("echo '{{\"value\": 1, \"x\": \"{CANARY}\"}}'"),
        format!("echo '{{\"value\": \"{CANARY}\", \"expires_at\": \"{CANARY}\"}}'"),
        format!("echo '{{\"value\": \"{CANARY}\", \"expires_at\": 1}}'"),
        format!("printf '{CANARY}\\377'"),
        format!("while echo {CANARY}; do :; done"),
    ] {
        let text = fault(&shell(&script)).await;
        assert!(!text.contains(&CANARY[..10]), "{text}");
    }
}

#[tokio::test]
async fn what_is_no_secret_is_refused() {
    for (script, told) in [
        ("true", "wrote nothing"),
        ("echo", "wrote nothing"),
        ("printf '\\377'", "not UTF-8"),
        ("echo '{}'", "without a text as `value`"),
        ("yes", "more than 65536 bytes"),
        (
            "echo '{\"value\": \"v\", \"expires_at\": 0}'",
            "expired at 1970-01-01T00:00:00Z",
        ),
    ] {
        let text = fault(&shell(script)).await;
        assert!(text.contains(told), "{text}");
    }
    let longest = shell("head -c 65536 /dev/zero | tr '\\0' x");
    assert_eq!(
        run(&longest, now()).await.unwrap().value.expose().len(),
        LONGEST
    );
}

/// A pipe of which somebody holds the other end as long as a program lives, and its children.
struct Alive(std::io::PipeReader);

impl Alive {
    /// A program with a child, which hold a pipe open and never end.
    fn start(ending: &str) -> (Self, Arc<Command>, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("alive");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        let script = format!("exec 9>alive; echo started >&9; sleep 1000 & {ending}");
        let command = command(folder.path(), &["sh", "-c", &script]);
        // For reading and writing at first, as opening a pipe waits for its other end.
        let both = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&fifo)
            .unwrap();
        let reader = fs::File::open(&fifo).unwrap();
        drop(both);
        (
            Self(std::os::fd::OwnedFd::from(reader).into()),
            command,
            folder,
        )
    }

    /// Waits until the program has started.
    async fn started(self) -> Self {
        let wait = tokio::task::spawn_blocking(move || {
            let mut alive = self;
            let mut byte = [0];
            while std::io::Read::read(&mut alive.0, &mut byte).unwrap() == 0 {
                std::thread::yield_now();
            }
            alive
        });
        wait.await.unwrap()
    }

    /// Waits until nobody holds the pipe.
    async fn ended(mut self) {
        let wait = tokio::task::spawn_blocking(move || {
            std::io::Read::read_to_end(&mut self.0, &mut Vec::new()).unwrap();
        });
        let ended = tokio::time::timeout(Duration::from_secs(20), wait).await;
        ended.unwrap().unwrap();
    }
}

#[tokio::test]
async fn what_takes_too_long_is_killed_with_its_children() {
    // The program ends in the second case, and its child holds the output.
    for ending in ["wait", "echo secret"] {
        let (alive, command, _folder) = Alive::start(ending);
        let fault = run_within(&command, now(), Duration::from_millis(300)).await;
        let text = fault.unwrap_err().to_string();
        assert!(text.contains("`sh` did not end within 300ms"), "{text}");
        alive.ended().await;
    }
}

#[tokio::test]
async fn what_is_given_up_is_killed_with_its_children() {
    let (alive, command, _folder) = Alive::start("wait");
    let running = tokio::spawn(async move { run(&command, now()).await });
    let alive = alive.started().await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    alive.ended().await;
}

#[tokio::test]
async fn what_writes_too_much_is_killed_with_its_children() {
    let (alive, command, _folder) = Alive::start("yes");
    let text = run(&command, now()).await.unwrap_err().to_string();
    assert!(text.contains("more than 65536 bytes"), "{text}");
    alive.ended().await;
}
