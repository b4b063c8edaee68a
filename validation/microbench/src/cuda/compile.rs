//! Kernels from source, by NVRTC.

use std::ffi::CString;

use cudarc::nvrtc::result::{self, NvrtcError};
use cudarc::nvrtc::sys;

use super::{Error, Gpu, Module, Result, text};

const COMMON: &str = include_str!("../../kernels/common.cu");
const ELEMENTWISE: &str = include_str!("../../kernels/elementwise.cu");
const ATTENTION: &str = include_str!("../../kernels/attention.cu");

/// What can be compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sources {
    /// All but attention.
    Elementwise,
    /// Attention for one width of heads and one format of the cache.
    Attention {
        /// 64 or 128.
        head_dim: u32,
        /// Whether the cache is in e4m3, otherwise in bf16.
        e4m3: bool,
    },
}

impl Sources {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Elementwise,
        Self::Attention { head_dim: 128, e4m3: false },
        Self::Attention { head_dim: 128, e4m3: true },
        Self::Attention { head_dim: 64, e4m3: false },
        Self::Attention { head_dim: 64, e4m3: true },
    ];

    /// Compiles for a compute capability such as 90, to machine code.
    ///
    /// # Errors
    /// What the compiler says.
    pub fn compile(self, capability: i32) -> Result<Vec<u8>> {
        let (name, source, defines) = match self {
            Self::Elementwise => ("elementwise.cu", ELEMENTWISE, vec![]),
            Self::Attention { head_dim, e4m3 } => {
                let defines = vec![format!("-DDIM={head_dim}"), format!("-DKV_E4M3={}", u32::from(e4m3))];
                ("attention.cu", ATTENTION, defines)
            }
        };
        let c = |text: &str| CString::new(text).map_err(|error| Error::Other(error.to_string()));
        let (source, c_name) = (c(&format!("{COMMON}\n#line 1 \"{name}\"\n{source}"))?, c(name)?);
        let failed =
            |error: NvrtcError| Error::Call { what: format!("NVRTC on {name}"), why: error.to_string() };
        let program = result::create_program(&source, Some(&c_name)).map_err(failed)?;
        let mut options = vec![format!("--gpu-architecture=sm_{capability}"), "--std=c++17".into()];
        options.extend(defines);
        // SAFETY: the program is destroyed once, at the end; buffers have the sizes that NVRTC asks for.
        unsafe {
            let compiled = result::compile_program(program, &options);
            let outcome = match compiled {
                Err(error) => {
                    let log: Vec<u8> = result::get_program_log(program)
                        .unwrap_or_default()
                        .iter()
                        .map(|c| *c as u8)
                        .collect();
                    Err(Error::Call {
                        what: format!("NVRTC on {name} for sm_{capability}"),
                        why: format!("{error}\n{}", text(&log)),
                    })
                }
                Ok(()) => {
                    let mut size = 0;
                    sys::nvrtcGetCUBINSize(program, &mut size).result().map_err(failed)?;
                    let mut image = vec![0_u8; size];
                    sys::nvrtcGetCUBIN(program, image.as_mut_ptr().cast()).result().map_err(failed)?;
                    Ok(image)
                }
            };
            let _ = result::destroy_program(program);
            outcome
        }
    }

    /// Compiles and loads.
    ///
    /// # Errors
    /// As [`Sources::compile`], or what the driver says.
    pub fn load(self, gpu: &Gpu) -> Result<Module> {
        gpu.load(&self.compile(gpu.capability())?)
    }
}

/// The version of NVRTC.
pub fn version() -> String {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: writes two integers.
    let _ = unsafe { sys::nvrtcVersion(&mut major, &mut minor) };
    format!("{major}.{minor}")
}

/// Compiles all kernels for each of `capabilities`, and says how large they are; needs no device.
///
/// # Errors
/// The first that does not compile.
pub fn check_all(capabilities: &[i32]) -> Result<()> {
    println!("NVRTC {}", version());
    for capability in capabilities {
        for sources in Sources::ALL {
            let image = sources.compile(*capability)?;
            println!("sm_{capability}: {sources:?}: {} bytes", image.len());
        }
    }
    Ok(())
}
