//! The chain reads the environment, so each case is a process of its own: this test binary, running
//! the ignored test below.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Response;
use tempfile::TempDir;
use tokio::process::Command;

use super::*;
use crate::auth::aws::testing::{field, refusal, session};
use crate::auth::testing::{Received, Server, connection, response};
use crate::upstream::Upstreams;

/// Where the limit stands for which a chain may be looked through, in milliseconds.
const LIMIT: &str = "KEYBEARER_TEST_LIMIT";
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
#[ignore = "run by the tests below"]
async fn tells_what_it_finds() {
    let client = RoadClient::new(&connection(), Arc::new(Upstreams::default()));
    let limit = std::env::var(LIMIT).map_or(EXCHANGE, |text| {
        Duration::from_millis(text.parse().unwrap())
    });
    let found = find_within(&client, &OffsetTime::default(), "eu-west-1", limit).await;
    let told = match found {
        Ok((keys, end)) => {
            let token = keys
                .session_token
                .as_ref()
                .map_or("-", |token| token.expose());
            let left = end.map(|end| end.duration_since(SystemTime::now()).unwrap().as_secs());
            let left = left.map_or("-".to_owned(), |left| left.to_string());
            format!(
                "{} {} {token} {left}",
                keys.id.expose(),
                keys.secret.expose()
            )
        }
        Err(fault) => {
            let callers = fault.for_callers.unwrap_or_default();
            assert!(!callers.contains("no entry"), "{callers}");
            format!("{:?}: {}", fault.lapse, fault.detail)
        }
    };
    println!("\nfound {told}");
}

/// What is found with a home folder that holds these files, and this environment.
async fn found(files: &[(&str, &str)], environment: &[(&str, &str)]) -> String {
    let home = TempDir::new().unwrap();
    for (name, text) in files {
        let path = home.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let in_home = |value: &str| value.replace("~", home.path().to_str().unwrap());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "auth::aws::chain::tests::tells_what_it_finds"])
        .args(["--ignored", "--nocapture", "--test-threads=1"])
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", std::env::var_os("PATH").unwrap())
        .envs(
            environment
                .iter()
                .map(|(name, value)| (name, in_home(value))),
        )
        .output()
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let found = text.lines().find_map(|line| line.strip_prefix("found "));
    found.unwrap_or_else(|| panic!("{text}")).to_owned()
}

const NO_METADATA: (&str, &str) = ("AWS_EC2_METADATA_DISABLED", "true");

#[tokio::test]
async fn the_environment_comes_first() {
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKID1"),
        ("AWS_SECRET_ACCESS_KEY", "secret1"),
    ];
    let file = [(
        ".aws/credentials",
        "[default]\naws_access_key_id = AKID2\naws_secret_access_key = secret2\n",
    )];
    assert_eq!(found(&file, &keys).await, "AKID1 secret1 - -");
    let token = [keys[0], keys[1], ("AWS_SESSION_TOKEN", "token1")];
    assert_eq!(found(&[], &token).await, "AKID1 secret1 token1 -");
    assert_eq!(found(&file, &[]).await, "AKID2 secret2 - -");
}

#[tokio::test]
async fn profiles_are_read_from_where_the_environment_says() {
    let files = [
        (
            "keys",
            "[work]\naws_access_key_id = AKID3\naws_secret_access_key = secret3\n",
        ),
        (
            "config",
            "[profile told]\ncredential_process = sh -c \"cat ~/told\"\n[profile broken]\ncredential_process = sh -c \"echo no entry >&2; exit 3\"\n",
        ),
        (
            "told",
            "{\"Version\": 1, \"AccessKeyId\": \"ASIA4\", \"SecretAccessKey\": \"secret4\", \"SessionToken\": \"token4\", \"Expiration\": \"2099-01-01T00:00:00Z\"}",
        ),
    ];
    let within = |profile| {
        [
            ("AWS_PROFILE", profile),
            ("AWS_CONFIG_FILE", "~/config"),
            ("AWS_SHARED_CREDENTIALS_FILE", "~/keys"),
            NO_METADATA,
        ]
    };
    assert_eq!(found(&files, &within("work")).await, "AKID3 secret3 - -");
    let told = found(&files, &within("told")).await;
    assert!(told.starts_with("ASIA4 secret4 token4 2"), "{told}");
    let broken = found(&files, &within("broken")).await;
    assert!(
        broken.starts_with("Passing: ") && broken.contains("no entry"),
        "{broken}"
    );
    let none = found(&files, &within("none")).await;
    assert!(
        none.starts_with("Misconfigured: no AWS credentials were found"),
        "{none}"
    );
    assert!(none.contains("`none`"), "{none}");
}

#[tokio::test]
async fn sso_is_named_as_what_is_left_out() {
    for text in [
        "[default]\nsso_start_url = https://x.example\nsso_region = eu-west-1\nsso_account_id = 1\nsso_role_name = r\n",
        "[default]\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\n[sso-session s]\nsso_start_url = https://x.example\nsso_region = eu-west-1\n",
        "[default]\nlogin_session = arn:aws:iam::1:user/me\n",
    ] {
        let told = found(&[(".aws/config", text)], &[NO_METADATA]).await;
        assert!(told.starts_with("Misconfigured: "), "{told}");
        assert!(
            told.contains("SSO") && told.contains("credential_process"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn a_web_identity_is_exchanged_at_sts() {
    let end = SystemTime::now() + HOUR;
    let server = Server::start(move |_| session("AssumeRoleWithWebIdentity", "ASIA5", end)).await;
    let url = server.url("");
    let environment = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "~/token"),
        ("AWS_ROLE_ARN", "arn:aws:iam::1:role/web"),
        ("AWS_ROLE_SESSION_NAME", "me"),
        ("AWS_ENDPOINT_URL_STS", url.as_str()),
    ];
    let told = found(&[("token", "canary-web-token")], &environment).await;
    assert!(
        told.starts_with("ASIA5 canary-session-secret canary-session-token-ASIA5 35"),
        "{told}"
    );
    let request = server.only();
    assert_eq!(
        field(&request.content, "WebIdentityToken"),
        Some("canary-web-token")
    );
    assert_eq!(field(&request.content, "RoleSessionName"), Some("me"));

    let refusing =
        Server::start(|_| refusal(400, "InvalidIdentityToken", "No provider found")).await;
    let url = refusing.url("");
    let mut environment = environment;
    environment[3].1 = url.as_str();
    let told = found(&[("token", "canary-web-token")], &environment).await;
    let start = "Misconfigured: the default chain of AWS credentials failed: STS refused (InvalidIdentityToken): No provider found";
    assert!(
        told.starts_with(start) && !told.contains("canary"),
        "{told}"
    );
    assert_eq!(refusing.received().len(), 1);
}

#[tokio::test]
async fn a_container_is_asked_with_its_token() {
    let end = humantime::format_rfc3339_seconds(SystemTime::now() + HOUR);
    let text = format!(
        "{{\"AccessKeyId\": \"ASIA6\", \"SecretAccessKey\": \"secret6\", \"Token\": \"token6\", \"Expiration\": \"{end}\"}}"
    );
    let server = Server::saying(200, "application/json", text).await;
    let url = server.url("/creds?id=1");
    let environment = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", url.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "~/token"),
    ];
    let told = found(&[("token", "container-token")], &environment).await;
    assert!(told.starts_with("ASIA6 secret6 token6 35"), "{told}");
    let request = server.only();
    assert_eq!(request.target, "/creds?id=1");
    assert_eq!(request.headers["authorization"], "container-token");
}

/// The instance's metadata service; gives keys only to who has a token.
fn metadata(request: &Received, keys: &Response<String>) -> Response<String> {
    match (request.method.as_str(), &*request.target) {
        ("PUT", "/latest/api/token") => {
            let mut answer = response(200, "text/plain", "imds-token");
            let header = "x-aws-ec2-metadata-token-ttl-seconds";
            answer.headers_mut().insert(header, 21600.into());
            answer
        }
        _ if request.headers["x-aws-ec2-metadata-token"] != "imds-token" => {
            response(401, "text/plain", "")
        }
        ("GET", "/latest/meta-data/iam/security-credentials/") => {
            response(200, "text/plain", "instance-role")
        }
        ("GET", "/latest/meta-data/iam/security-credentials/instance-role") => keys.clone(),
        _ => response(404, "text/plain", ""),
    }
}

#[tokio::test]
async fn an_instance_is_asked_last() {
    let end = humantime::format_rfc3339_seconds(SystemTime::now() + HOUR);
    let text = format!(
        "{{\"Code\": \"Success\", \"Type\": \"AWS-HMAC\", \"AccessKeyId\": \"ASIA7\", \"SecretAccessKey\": \"secret7\", \"Token\": \"token7\", \"Expiration\": \"{end}\"}}"
    );
    let keys = response(200, "application/json", &text);
    let server = Server::start(move |request| metadata(request, &keys)).await;
    let url = server.url("/");
    let environment = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())];
    let told = found(&[], &environment).await;
    assert!(told.starts_with("ASIA7 secret7 token7 35"), "{told}");
    assert_eq!(server.received().len(), 3, "{:?}", server.received());
}

#[tokio::test]
async fn what_an_instance_answers_is_not_shown() {
    let keys = response(403, "application/json", "canary");
    let server = Server::start(move |request| metadata(request, &keys)).await;
    let url = server.url("/");
    let environment = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())];
    let told = found(&[], &environment).await;
    assert!(
        told.contains("metadata service answered 403") && !told.contains("canary"),
        "{told}"
    );
}

#[tokio::test]
async fn nothing_to_be_found_is_told_with_where_was_looked() {
    let told = found(&[], &[NO_METADATA]).await;
    for part in [
        "Misconfigured: ",
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        "metadata service",
    ] {
        assert!(told.contains(part), "{told}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_process_that_hangs_is_ended_with_what_it_has_started() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap();
    // Three generations, all of which say who they are.
    let script = "echo $$ > DIR/outer; sh -c 'echo $$ > DIR/inner; sleep 600 & echo $! > DIR/last; wait'; echo no entry";
    let config = format!(
        "[default]\ncredential_process = {}\n",
        script.replace("DIR", path)
    );
    let environment = [
        ("AWS_CONFIG_FILE", "~/config"),
        ("AWS_SHARED_CREDENTIALS_FILE", "~/none"),
        NO_METADATA,
        // Long enough for the processes to be there.
        (LIMIT, "3000"),
    ];
    let told = found(&[("config", &config)], &environment).await;
    assert!(
        told.starts_with("Passing: ") && told.contains("within 3s") && told.contains("was ended"),
        "{told}"
    );
    for name in ["outer", "inner", "last"] {
        let id = fs::read_to_string(folder.path().join(name)).unwrap();
        let program = format!("/proc/{}/exe", id.trim());
        let ends = async {
            // What has ended has no program any more, even if nobody has waited for it.
            while fs::read_link(&program).is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(20), ends).await;
        assert!(ended.is_ok(), "{name} still runs");
    }
}
