//! What may be said on the command line.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::contestant::Kind;
use crate::scenario::Scenario;

pub(crate) const HELP: &str = "\
cargo bench --bench end_to_end -- [OPTIONS]

  --rounds N            rounds of each timed scenario, 7 by default
  --seconds S           length of one measured stretch, 2 by default
  --contestants A,B     of direct, nginx, nginx-tuned, haproxy, pingora-proxy, keybearer,
                        keybearer-other, keybearer-bare, keybearer-traces,
                        keybearer-log, keybearer-oauth, keybearer-aws, keybearer-h2,
                        keybearer-h2c, keybearer-connect, keybearer-agent
  --scenarios A,B       of get1k, post64k, sdk64k, dl10m, tls1k, rate3000
  --smoke               a few hundred requests each, one round: does it all work?
  --instructions        only the user instructions per request
  --check               only keybearer's instructions, against benches/instructions.toml
  --bless               only keybearer's instructions, kept in benches/instructions.toml
  --no-install          build no peer: pingora-proxy runs only if it was built before
";

#[derive(Clone, Debug)]
pub(crate) struct Arguments {
    pub(crate) mode: Mode,
    pub(crate) figure: Figure,
    pub(crate) rounds: usize,
    pub(crate) stretch: Stretch,
    pub(crate) contestants: Vec<Kind>,
    /// Whether the contestants were named, so that a missing one is an error.
    pub(crate) named: bool,
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) install: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mode {
    Everything,
    Help,
    Instructions,
    Smoke,
}

/// What becomes of the kept figure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Figure {
    Bless,
    Check,
    Show,
}

/// How long one contestant is loaded in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

impl Arguments {
    pub(crate) fn parse(given: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut arguments = Self {
            mode: Mode::Everything,
            figure: Figure::Show,
            rounds: 7,
            stretch: Stretch {
                warm_up: Duration::from_millis(400),
                measured: Duration::from_secs(2),
            },
            contestants: Kind::ALL.to_vec(),
            named: false,
            scenarios: Scenario::ALL.to_vec(),
            install: true,
        };
        let mut given = given.into_iter();
        while let Some(argument) = given.next() {
            let mut value = || {
                given
                    .next()
                    .with_context(|| format!("`{argument}` needs a value"))
            };
            match argument.as_str() {
                // Added by `cargo bench`.
                "--bench" => {}
                "--help" | "-h" => arguments.mode = Mode::Help,
                "--rounds" => arguments.rounds = value()?.parse().context("`--rounds`")?,
                "--seconds" => {
                    let seconds = value()?.parse().context("`--seconds`")?;
                    arguments.stretch.measured =
                        Duration::try_from_secs_f64(seconds).context("`--seconds`")?;
                }
                "--contestants" => {
                    arguments.contestants = list(&value()?, &Kind::ALL, |kind| kind.name())?;
                    arguments.named = true;
                }
                "--scenarios" => {
                    arguments.scenarios =
                        list(&value()?, &Scenario::ALL, |scenario| scenario.name())?;
                }
                "--smoke" => arguments.smoke(),
                "--instructions" => arguments.mode = Mode::Instructions,
                "--check" => arguments.keep(Figure::Check),
                "--bless" => arguments.keep(Figure::Bless),
                "--no-install" => arguments.install = false,
                other => bail!("unknown argument `{other}`\n\n{HELP}"),
            }
        }
        if arguments.rounds == 0 {
            bail!("`--rounds` must be 1 at least");
        }
        Ok(arguments)
    }

    fn smoke(&mut self) {
        self.mode = Mode::Smoke;
        self.rounds = 1;
        self.stretch = Stretch {
            warm_up: Duration::from_millis(50),
            measured: Duration::from_millis(250),
        };
        // It takes minutes to build.
        self.contestants.retain(|&kind| kind != Kind::PingoraProxy);
    }

    fn keep(&mut self, figure: Figure) {
        self.mode = Mode::Instructions;
        self.figure = figure;
        self.contestants = vec![Kind::Keybearer];
    }
}

/// The members of `all` that a comma-separated list names, in the order of `all`.
fn list<T: Copy>(text: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<Vec<T>> {
    let wanted: Vec<&str> = text.split(',').map(str::trim).collect();
    if let Some(unknown) = wanted
        .iter()
        .find(|&&wanted| !all.iter().any(|&one| name(one) == wanted))
    {
        let known: Vec<_> = all.iter().map(|&one| name(one)).collect();
        bail!("unknown name `{unknown}`, known: {}", known.join(", "));
    }
    Ok(all
        .iter()
        .copied()
        .filter(|&one| wanted.contains(&name(one)))
        .collect())
}
