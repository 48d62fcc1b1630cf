//! What an agent cannot be started with, and what it is started with instead of arguments.

use crate::harness::{Agent, Authority, Site, TOKEN};

#[tokio::test]
async fn an_agent_that_could_do_nothing_is_not_started() {
    let authority = Authority::new();
    let good = ["--name", "dc", "--token-file", "token"];
    let allow = ["--allow", "a.example:443"];
    let with = |more: &[&'static str]| [&good[..], more].concat();
    for (args, told) in [
        (with(&[]), "nothing is allowed"),
        (with(&["--allow", "a.example"]), "lacks a port"),
        (
            with(&["--allow", "a.example:443,*:80"]),
            "would open everything",
        ),
        (with(&["--allow-file", "none"]), "`none` cannot be read"),
        (
            with(&["--allow", "a.example:443", "--server-name", "a b"]),
            "no host name",
        ),
        (
            with(&["--allow", "a.example:443", "--certificate", "ca.pem"]),
            "--key",
        ),
        (
            with(&[
                "--allow",
                "a.example:443",
                "--certificate",
                "ca.pem",
                "--key",
                "ca.pem",
            ]),
            "has no private key",
        ),
        (
            [&["--name", "d c", "--token-file", "token"][..], &allow].concat(),
            "no name for an agent",
        ),
        (
            [&["--name", "dc"][..], &allow].concat(),
            "neither a token nor a certificate",
        ),
        (
            [&["--name", "dc", "--token-file", "none"][..], &allow].concat(),
            "`none` cannot be read",
        ),
        ([&["--token-file", "token"][..], &allow].concat(), "--name"),
    ] {
        let mut agent = Agent::start("127.0.0.1:1", &authority, &args, |_| {});
        let exit = agent.exit().await;
        assert_eq!(exit.code, Some(2), "{args:?}: {exit:?}");
        assert!(exit.stderr.contains(told), "{args:?}: {exit:?}");
        assert!(!exit.stderr.contains(TOKEN), "{exit:?}");
    }
    let args = [&good[..], &allow].concat();
    for server in [
        "localhost",
        "localhost:0",
        "fd00::1:7443",
        "https://a.example:7443/",
    ] {
        let exit = Agent::start(server, &authority, &args, |_| {}).exit().await;
        assert_eq!(exit.code, Some(2), "{exit:?}");
        assert!(exit.stderr.contains("--server"), "{exit:?}");
    }
}

#[tokio::test]
async fn the_environment_and_a_file_say_the_same_as_arguments() {
    let site = Site::start("").await;
    let agent = Agent::start("unused:1", &site.authority, &[], |command| {
        // Without the arguments that the harness gives.
        let folder = command.get_current_dir().unwrap().to_owned();
        let mut bare = std::process::Command::new(command.get_program());
        bare.current_dir(&folder).env_clear();
        std::fs::write(
            folder.join("rules"),
            "# of the ERP\nerp.internal:443 # its web\n\n10.0.0.0/8:*\n",
        )
        .unwrap();
        bare.args(["agent", "--log-format", "json"]);
        for (name, value) in [
            ("SERVER", site.agents.to_string()),
            ("NAME", "dc".to_owned()),
            ("TOKEN_FILE", "token".to_owned()),
            ("CA", "ca.pem".to_owned()),
            ("ALLOW", "a.example:443,b.example:443".to_owned()),
            ("ALLOW_FILE", "rules".to_owned()),
        ] {
            bare.env(format!("KEYBEARER_AGENT_{name}"), value);
        }
        *command = bare;
    });
    site.wait_for_connected(1).await;
    let line = agent.logged(&["Starting"]).await;
    assert!(line.contains("\"rules\":4"), "{line}");
}
