//! Where NVRTC and cublasLt lie.
//!
//! What the loader finds by name is taken first. Otherwise the usual folders are searched: those of the CUDA toolkit,
//! and of the packages `nvidia-cuda-nvrtc` and `nvidia-cublas` that come with PyTorch. A library loaded by its path is
//! found by its name afterwards.

use std::path::{Path, PathBuf};

use super::{Error, Result};

/// Folders of the toolkit, and Python's folders of packages.
const TOOLKITS: [&str; 4] = [
    "/usr/local/cuda/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/opt/cuda/lib64",
    "/usr/local/cuda/targets/x86_64-linux/lib",
];
const PYTHONS: [&str; 4] = ["/usr/lib/python3", "/usr/local/lib", "/opt", "/root"];
/// How deep packages are looked for.
const DEPTH: u32 = 8;

/// Loads NVRTC and, if `products`, cublasLt; `folders` are searched first.
///
/// # Errors
/// [`Error::Missing`] with what is not there.
pub fn find_libraries(folders: &[PathBuf], products: bool) -> Result<()> {
    // SAFETY: NVIDIA's libraries, loaded for the life of the process.
    let nvrtc = load("nvrtc", folders, || unsafe { cudarc::nvrtc::sys::is_culib_present() });
    let lt = !products || load("cublasLt", folders, || unsafe { cudarc::cublaslt::sys::is_culib_present() });
    let missing: Vec<&str> = [(nvrtc, "NVRTC (libnvrtc.so)"), (lt, "cublasLt (libcublasLt.so)")]
        .iter()
        .filter(|(there, _)| !there)
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let how =
        "they come with the CUDA toolkit 12 or 13, and with PyTorch; name their folder with --cuda-libs";
    Err(Error::Missing(format!("{} cannot be loaded: {how}", missing.join(" and "))))
}

fn load(name: &str, folders: &[PathBuf], present: impl Fn() -> bool) -> bool {
    let given = folders.iter().cloned();
    if given.clone().any(|folder| load_from(&folder, name)) || present() {
        return true;
    }
    if TOOLKITS.iter().any(|folder| load_from(Path::new(folder), name)) {
        return present();
    }
    let mut found = Vec::new();
    let starts = std::env::var_os("VIRTUAL_ENV").map(PathBuf::from).into_iter();
    for start in starts.chain(PYTHONS.map(PathBuf::from)) {
        packages(&start, 0, &mut found);
    }
    found.iter().any(|folder| load_from(folder, name)) && present()
}

/// Folders `nvidia/*/lib` below `folder`.
fn packages(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut inner: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && !path.is_symlink())
        .collect();
    inner.sort();
    for path in inner {
        if path.file_name().is_some_and(|name| name == "nvidia") && folder.ends_with("site-packages") {
            let libraries = std::fs::read_dir(&path)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path().join("lib"));
            found.extend(libraries.filter(|path| path.is_dir()));
        } else if depth < DEPTH && !folder.ends_with("site-packages") {
            packages(&path, depth + 1, found);
        }
    }
}

fn load_from(folder: &Path, name: &str) -> bool {
    ["", ".13", ".12"].iter().any(|version| {
        let path = folder.join(format!("lib{name}.so{version}"));
        path.exists() && open(&path)
    })
}

fn open(path: &Path) -> bool {
    use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
    // SAFETY: as above.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }.map(std::mem::forget).is_ok()
}
