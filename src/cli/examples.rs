//! The ends of help texts: what to type.

pub(super) const SHORT: &str = "\
Examples:
  keybearer                                   start with the embedded default
  curl http://127.0.0.1:8080/echo/hello       see what it adds
  keybearer init                              write a first configuration
  keybearer check --config keybearer.toml     validate before you start
  keybearer test jira --path /myself          try a connection
  keybearer status --watch                    see where all of them stand
  keybearer --config /etc/keybearer run       merge a folder of TOML files";

pub(super) const LONG: &str = "\
A first configuration, as `keybearer init` writes one:
  [connections.jira]
  base_url = \"https://example.atlassian.net/rest/api/3\"
  auth = { type = \"basic\", username = \"me@example.com\", password = { env = \"JIRA_TOKEN\" } }

Then http://127.0.0.1:8080/jira/issue/1 is
https://example.atlassian.net/rest/api/3/issue/1 with the credential added.";

pub(super) const RUN: &str = "\
Examples:
  keybearer run --config /etc/keybearer                 all *.toml files of a folder
  keybearer run --log-format json --log-level debug     for a log collector, and in detail
  kill -HUP PID                                         read the configuration again, now";

pub(super) const INIT: &str = "\
Examples:
  keybearer init
      ask for everything
  keybearer init --name github --base-url https://api.github.com --auth bearer \\
      --secret-env GITHUB_TOKEN
      ask for nothing: for scripts, too
  keybearer init --name crm --base-url https://api.example.com \\
      --auth oauth2_client_credentials --token-url https://login.example.com/token \\
      --client-id keybearer --secret-file crm-secret --output conf/crm.toml
      another kind, in another place";

pub(super) const CHECK: &str = "\
Examples:
  keybearer check                                 mistakes, each with its place and a hint
  keybearer check --config conf/ && systemctl reload keybearer
  keybearer check --connect                       is every upstream there, and the credential good?
  keybearer check --json | jq '.errors[].message'";

pub(super) const TEST: &str = "\
Examples:
  keybearer test jira                             GET of the base URL
  keybearer test jira --path '/search?jql=a'      GET of a path below it
  keybearer test jira --method POST --path /x     another method, without content
  keybearer test jira --json | jq .status";

pub(super) const LINK: &str = "\
Examples:
  keybearer link drive                            in the browser of this machine
  keybearer link drive --device                   with a code, on another device
  keybearer link drive --json                     for scripts: one JSON line, then another";

pub(super) const EXTERNAL_ID: &str = "\
Examples:
  keybearer external-id                           for all roles of this deployment
  keybearer external-id --scope project-x         for those with this scope
  keybearer external-id --json | jq .trust_policy > trust.json";

pub(super) const STATUS: &str = "\
Examples:
  keybearer status                                once
  keybearer status --watch --interval 5s          until Ctrl-C, every five seconds
  keybearer status || alert                       is every connection ready?
  keybearer status --json | jq -r '.connections[] | select(.state != \"ready\").name'";

pub(super) const WEBHOOKS: &str = "\
Examples:
  keybearer webhooks                              URLs, targets, and what waits
  keybearer webhooks show github                  an endpoint's latest deliveries
  keybearer webhooks show ID                      one of them, with its content
  keybearer webhooks replay ID                    deliver it again
  keybearer webhooks rotate github --overlap 7d   another URL; a week for the sender to change
  keybearer webhooks --json | jq -r '.endpoints[] | select(.blocked).name'";

pub(super) const WEBHOOKS_SHOW: &str = "\
Examples:
  keybearer webhooks show github
  keybearer webhooks show 0199f0c2-7d5e-7000-8000-000000000000
  keybearer webhooks show github --json | jq -r '.deliveries[] | select(.state == \"failed\").id'";

pub(super) const WEBHOOKS_REPLAY: &str = "\
Examples:
  keybearer webhooks replay 0199f0c2-7d5e-7000-8000-000000000000
  keybearer webhooks show github --json | jq -r '.deliveries[] | select(.state == \"failed\").id' |
      xargs -n 1 keybearer webhooks replay";

pub(super) const WEBHOOKS_ROTATE: &str = "\
Examples:
  keybearer webhooks rotate github                the earlier URL ends in a day
  keybearer webhooks rotate github --overlap 0s   it ends at once: it was seen by others";

pub(super) const AGENT: &str = "\
Examples:
  keybearer agent --server keybearer.example.com:7443 --name datacenter-1 \\
      --token-file agent-token --allow erp.internal:443
  keybearer agent … --allow '*.internal:443' --allow 10.1.0.0/16:8080";

pub(super) const COMPLETIONS: &str = "\
Examples:
  keybearer completions bash > /etc/bash_completion.d/keybearer
  keybearer completions zsh > \"${fpath[1]}/_keybearer\"
  keybearer completions fish > ~/.config/fish/completions/keybearer.fish";
