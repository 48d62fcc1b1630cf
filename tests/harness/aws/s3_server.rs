//! An S3 server of another make, which keeps objects as files.
//!
//! It checks the signature, the date, the hash of content, each chunk's signature and trailers; not
//! the region, session tokens, or fields that are not signed.

use std::net::SocketAddr;
use std::path::PathBuf;

use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use s3s::access::S3Access;
use s3s::auth::SimpleAuth;
use s3s::dto::{ListObjectsInput, ListObjectsV2Input};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Request, S3Result};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::signer::Keys;

/// A running S3 server and its folder.
pub struct S3Server {
    address: SocketAddr,
    keys: Keys,
    folder: TempDir,
    accepting: JoinHandle<()>,
}

impl S3Server {
    /// Starts one with an empty bucket of this name.
    pub async fn start(bucket: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(bucket)).unwrap();
        let keys = Keys::new("AKIAS3SERVER", "secret/of+the=s3-server");
        let files = FileSystem::new(folder.path()).unwrap();
        let mut service = S3ServiceBuilder::new(files);
        service.set_access(Listing);
        service.set_auth(SimpleAuth::from_single(&*keys.id, &*keys.secret));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            keys,
            folder,
            accepting: tokio::spawn(accept(listener, service.build())),
        }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The only keys that it knows.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The file of an object.
    pub fn file(&self, bucket: &str, key: &str) -> PathBuf {
        self.folder.path().join(bucket).join(key)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Takes a delimiter without a character for none, as S3 does and the store of files does not.
struct Listing;

#[async_trait]
impl S3Access for Listing {
    async fn list_objects(&self, request: &mut S3Request<ListObjectsInput>) -> S3Result<()> {
        request.input.delimiter.take_if(|text| text.is_empty());
        Ok(())
    }

    async fn list_objects_v2(&self, request: &mut S3Request<ListObjectsV2Input>) -> S3Result<()> {
        request.input.delimiter.take_if(|text| text.is_empty());
        Ok(())
    }
}

async fn accept(listener: TcpListener, service: S3Service) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let http = hyper::server::conn::http1::Builder::new();
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        connections.spawn(async move {
            // Broken connections are part of what is tested: the test looks at what was stored.
            let _ = connection.await;
        });
        while connections.try_join_next().is_some() {}
    }
}
