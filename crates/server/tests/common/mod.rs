//! A running server on a free loopback port over a temporary data directory, and a strict HTTP client.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub(crate) mod client;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use assistant::Assistant;
use engine::{Engine, EngineConfig};
use knowledge::{Access, Store};
use model::{LoadOptions, Model};
use server::{App, AppConfig, ServeConfig};
use tempfile::TempDir;
use tokio::sync::oneshot;

#[allow(unused_imports, reason = "each test binary uses its own part")]
pub(crate) use client::{Client, Request, Response};

/// A document with known facts, one in each paragraph.
pub(crate) const HANDBOOK: &str = "# House handbook\n\n\
    The garden gate is locked every evening at nine o'clock.\n\n\
    Visitors receive a blue badge at the reception desk.\n\n\
    `<script>alert('owned')</script>` & \"quotes\" are part of this text.\n";

/// The same in Korean.
pub(crate) const HANDBOOK_KO: &str = "# 한옥 안내서\n\n\
    정원 대문은 매일 저녁 아홉 시에 잠급니다.\n\n\
    방문객은 안내 데스크에서 파란색 출입증을 받습니다.\n";

/// A PDF file with one sentence on each page, at the same place.
pub(crate) fn pdf(sentences: &[&str]) -> Vec<u8> {
    let n = sentences.len();
    let kids: Vec<String> = (0..n).map(|page| format!("{} 0 R", 4 + 2 * page)).collect();
    let mut objects = vec![
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        format!(
            "<< /Type /Pages /Count {n} /Kids [{}] /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> >>",
            kids.join(" ")
        ),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_owned(),
    ];
    for (page, sentence) in sentences.iter().enumerate() {
        let content = format!("BT /F1 14 Tf 72 600 Td ({sentence}) Tj ET");
        objects.push(format!(
            "<< /Type /Page /Parent 2 0 R /Contents {} 0 R >>",
            5 + 2 * page
        ));
        objects.push(format!(
            "<< /Length {} >>\nstream\n{content}\nendstream",
            content.len()
        ));
    }
    let mut out = "%PDF-1.5\n".to_owned();
    let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for (object, number) in objects.iter().zip(1..) {
        table.push_str(&format!("{:010} 00000 n \n", out.len()));
        out.push_str(&format!("{number} 0 obj\n{object}\nendobj\n"));
    }
    let start = out.len();
    let size = objects.len() + 1;
    out.push_str(&table);
    out.push_str(&format!(
        "trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
    ));
    out.into_bytes()
}

/// A running server; it ends when dropped.
pub(crate) struct House {
    pub(crate) address: SocketAddr,
    pub(crate) dir: TempDir,
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl House {
    /// With the handbooks, without a model.
    pub(crate) fn start() -> Self {
        Self::with(None, |_| {})
    }

    /// With a model file.
    pub(crate) fn with_model(model: &Path) -> Self {
        Self::with(Some(model), |_| {})
    }

    /// With what `change` does to the configuration.
    pub(crate) fn with(model: Option<&Path>, change: impl FnOnce(&mut AppConfig)) -> Self {
        Self::build(model, EngineConfig::default(), change)
    }

    /// With a tiny model of random weights and an engine of its own kind.
    pub(crate) fn with_tiny_model(engine: EngineConfig) -> Self {
        Self::with_tiny_model_and(engine, |_| {})
    }

    /// The same with what `change` does to the configuration.
    pub(crate) fn with_tiny_model_and(engine: EngineConfig, change: impl FnOnce(&mut AppConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tiny.gguf");
        let options = model::synth::Options {
            dtype: model::synth::dtype_by_name("q8_0").unwrap(),
            seed: 3,
        };
        let spec = model::synth::Spec::by_name("tiny-olmoe").unwrap();
        let bytes = model::synth::synth(&spec, &options, Vec::new(), &mut |_| {}).unwrap();
        stdx::fs::write(&path, bytes).unwrap();
        Self::build(Some(&path), engine, |config| {
            config.self_test = false;
            config.model_name = Some("tiny".into());
            change(config);
        })
    }

    fn build(model: Option<&Path>, engine_config: EngineConfig, change: impl FnOnce(&mut AppConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let store = Store::open(&data, Access::Write).unwrap();
        let documents = dir.path().join("documents");
        stdx::fs::create_dir_all(&documents).unwrap();
        stdx::fs::write(documents.join("handbook.md"), HANDBOOK).unwrap();
        stdx::fs::write(documents.join("handbook-ko.md"), HANDBOOK_KO).unwrap();
        let report = store.ingest(&[documents], &mut |_| knowledge::Go::On).unwrap();
        assert_eq!(report.failed, []);
        let engine = model.map(|path| {
            let model = Model::load(path, &LoadOptions::default()).unwrap();
            Engine::start(model, engine_config)
        });
        let assistant = Arc::new(Assistant::new(Arc::new(store), engine, None));
        let mut config = AppConfig::new(assistant, data.join("uploads"));
        change(&mut config);
        let app = App::new(config).unwrap();
        let (shutdown, ended) = oneshot::channel();
        let (ready, address) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || run(app, &data, ended, &ready));
        Self {
            address: address.recv().unwrap(),
            dir,
            shutdown: Some(shutdown),
            thread: Some(thread),
        }
    }

    /// The data directory, as commands name it.
    pub(crate) fn data_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// The id of the document whose path ends so.
    pub(crate) fn document(&self, name: &str) -> String {
        let list = self.client().get("/api/documents").json();
        let documents = list["documents"].as_array().unwrap();
        let found = documents
            .iter()
            .find(|d| d["path"].as_str().unwrap().ends_with(name));
        found.unwrap_or_else(|| panic!("no {name} in {list}"))["document_id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Waits until a job of this name has ended and returns it.
    pub(crate) fn wait_for_job(&self, name: &str) -> serde_json::Value {
        for _ in 0..400 {
            let jobs = self.client().get("/api/jobs").json();
            let job = jobs["jobs"]
                .as_array()
                .unwrap()
                .iter()
                .find(|job| job["name"] == name)
                .cloned();
            if let Some(job) = job
                && (job["state"] == "done" || job["state"] == "failed")
            {
                return job;
            }
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        panic!("the job {name} never ended");
    }
}

fn run(app: App, data: &Path, ended: oneshot::Receiver<()>, ready: &std::sync::mpsc::Sender<SocketAddr>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let config = ServeConfig {
            address: "127.0.0.1:0".parse().unwrap(),
            data_dir: Some(data.to_owned()),
        };
        let bound = server::bind(app, config).await.unwrap();
        ready.send(bound.address()).unwrap();
        let shutdown = async {
            let _ = ended.await;
        };
        bound.run(shutdown).await.unwrap();
    });
}

impl Drop for House {
    fn drop(&mut self) {
        drop(self.shutdown.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the server panicked");
        }
    }
}
