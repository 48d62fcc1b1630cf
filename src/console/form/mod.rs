//! New connections: a form, what comes of it, a trial of that, and its place in the configuration.
//!
//! | path | what |
//! |---|---|
//! | `GET /new` | the form's page |
//! | `GET /assets/form.js` | its script |
//! | `POST /api/drafts` | a draft as TOML, all that is wrong with it, and what comes of a trial |
//! | `POST /api/connections` | writes a draft into the configuration, where `admin.allow_edit` says so |
//!
//! [`fields`] has every field once. [`draft`] makes of what is sent a [`Draft`](draft::Draft), [`text`]
//! of that TOML, which [`check`] reads with the whole configuration.

mod api;
mod check;
mod controls;
mod draft;
mod fields;
mod of_aws;
mod of_oauth2;
mod overlay;
mod page;
mod reader;
mod text;
mod told;
mod trial;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use tokio::sync::{Mutex, Semaphore};

use self::check::Surroundings;
use super::Console;
use crate::config::Edit;
use crate::problem::{Kind, Problem};

/// No draft is longer, in bytes.
const LONGEST: usize = 256 << 10;

/// Drafts that are tried at the same time.
const AT_ONCE: usize = 4;

/// What the form needs of the console.
struct Forms {
    console: Arc<Console>,
    places: Semaphore,
    /// Held while the configuration is written.
    writing: Arc<Mutex<()>>,
}

impl Forms {
    /// Whether the console may write to the configuration, as it is in force.
    fn edit(&self) -> Edit {
        let snapshot = self.console.reader.take();
        let admin = snapshot.admin.as_ref();
        admin.map_or(Edit::Refused, |admin| admin.edit)
    }

    fn surroundings(&self, edit: Edit) -> Surroundings<'_> {
        let reloader = &self.console.reloader;
        Surroundings {
            location: reloader.location(),
            outside: reloader.outside(),
            edit,
        }
    }

    /// Does what waits for files.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let forms = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&forms)).await;
        done.map_err(|error| Problem::new(Kind::Internal, format!("the work broke off: {error}")))
    }
}

/// The form's paths.
pub(super) fn routes(console: Arc<Console>) -> Router<Arc<Console>> {
    let forms = Forms {
        console,
        places: Semaphore::new(AT_ONCE),
        writing: Arc::default(),
    };
    Router::new()
        .route("/new", get(page::new))
        .route("/assets/form.js", get(page::script))
        .route("/api/drafts", post(api::draft))
        .route("/api/connections", post(api::create))
        .layer(DefaultBodyLimit::max(LONGEST))
        .with_state(Arc::new(forms))
}
