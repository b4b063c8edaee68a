//! Matrix products through cublasLt.
//!
//! Weights are `n x k` in rows, as checkpoints have them, and tokens `m x k`: in cublasLt's columns that is the
//! transposed weights times the tokens, `n x m`.

use std::ffi::c_void;

use cudarc::cublaslt::result::{self, CublasError};
use cudarc::cublaslt::sys::{
    self, cublasComputeType_t as Compute, cublasLtMatmulDescAttributes_t as Key,
    cublasLtMatmulPreferenceAttributes_t as Preference, cudaDataType_t as Type,
};
use sim_models::hardware::microbench::Format;

use super::{Buffer, Error, Gpu, Result};

/// Room that an algorithm may use: 64 MiB, as 32 MiB is what cublas takes on Hopper by itself.
const WORKSPACE: u64 = 64 << 20;

/// cublasLt, its workspace, and the scales of 8-bit products (1).
pub struct Lt {
    handle: sys::cublasLtHandle_t,
    workspace: Buffer,
    one: Buffer,
}

/// A product of one shape with the algorithm that cublasLt takes for it.
pub struct Product {
    desc: sys::cublasLtMatmulDesc_t,
    layouts: [sys::cublasLtMatrixLayout_t; 3],
    algorithm: sys::cublasLtMatmulAlgo_t,
    integers: bool,
}

impl Drop for Product {
    fn drop(&mut self) {
        // SAFETY: all were made, and are destroyed once.
        unsafe {
            self.layouts.iter().for_each(|layout| {
                let _ = result::destroy_matrix_layout(*layout);
            });
            let _ = result::destroy_matmul_desc(self.desc);
        }
    }
}

fn told(error: CublasError) -> Error {
    Error::Call { what: "cublasLt".into(), why: error.to_string() }
}

/// Bytes of an operand's element.
pub fn element_bytes(format: Format) -> u64 {
    match format {
        Format::Fp32 | Format::Tf32 => 4,
        Format::Fp16 | Format::Bf16 => 2,
        Format::Fp8 | Format::Int8 => 1,
    }
}

impl Lt {
    /// Opens cublasLt on the device.
    ///
    /// # Errors
    /// What it says.
    pub fn open(gpu: &Gpu) -> Result<Self> {
        let handle = result::create_handle().map_err(told)?;
        Ok(Self { handle, workspace: gpu.alloc(WORKSPACE)?, one: gpu.buffer_of(&[1.0_f32])? })
    }

    /// Its version.
    pub fn version() -> String {
        // SAFETY: takes and gives an integer.
        let version = unsafe { sys::cublasLtGetVersion() };
        format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
    }

    /// A product of `m` tokens and weights `n x k`. Results are in `wide` (fp32; of integers always 32 bits) or
    /// in the operands' 16 bits (bf16 for fp8).
    ///
    /// # Errors
    /// What cublasLt has no algorithm for.
    pub fn product(&self, format: Format, m: u64, n: u64, k: u64, wide: bool) -> Result<Product> {
        let (operand, output, compute, scale) = match format {
            Format::Fp32 => {
                (Type::CUDA_R_32F, Type::CUDA_R_32F, Compute::CUBLAS_COMPUTE_32F, Type::CUDA_R_32F)
            }
            Format::Tf32 => {
                (Type::CUDA_R_32F, Type::CUDA_R_32F, Compute::CUBLAS_COMPUTE_32F_FAST_TF32, Type::CUDA_R_32F)
            }
            Format::Fp16 => {
                (Type::CUDA_R_16F, Type::CUDA_R_16F, Compute::CUBLAS_COMPUTE_32F, Type::CUDA_R_32F)
            }
            Format::Bf16 => {
                (Type::CUDA_R_16BF, Type::CUDA_R_16BF, Compute::CUBLAS_COMPUTE_32F, Type::CUDA_R_32F)
            }
            Format::Fp8 => {
                (Type::CUDA_R_8F_E4M3, Type::CUDA_R_16BF, Compute::CUBLAS_COMPUTE_32F, Type::CUDA_R_32F)
            }
            Format::Int8 => {
                (Type::CUDA_R_8I, Type::CUDA_R_32I, Compute::CUBLAS_COMPUTE_32I, Type::CUDA_R_32I)
            }
        };
        let output = if wide && format != Format::Int8 { Type::CUDA_R_32F } else { output };
        let desc = result::create_matmul_desc(compute, scale).map_err(told)?;
        let layout = |kind, rows, columns| {
            result::create_matrix_layout(kind, rows, columns, rows as i64).map_err(told)
        };
        let layouts = [layout(operand, k, n)?, layout(operand, k, m)?, layout(output, n, m)?];
        // SAFETY: attributes are set to values of the types that cublasLt documents; all handles live.
        unsafe {
            let set = |key, value: *const c_void, bytes| {
                result::set_matmul_desc_attribute(desc, key, value, bytes).map_err(told)
            };
            // CUBLAS_OP_T of cublasOperation_t.
            let transposed = 1_i32;
            set(
                Key::CUBLASLT_MATMUL_DESC_TRANSA,
                std::ptr::from_ref(&transposed).cast(),
                size_of_val(&transposed),
            )?;
            if format == Format::Fp8 {
                let one: *const u64 = &self.one.at;
                set(Key::CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, one.cast(), 8)?;
                set(Key::CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, one.cast(), 8)?;
                // As serving engines do: vLLM's CUTLASS kernels for Hopper are those with fast accumulation.
                let fast = 1_i8;
                set(Key::CUBLASLT_MATMUL_DESC_FAST_ACCUM, std::ptr::from_ref(&fast).cast(), 1)?;
            }
            let preference = result::create_matmul_pref().map_err(told)?;
            let key = Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
            let room: *const u64 = &WORKSPACE;
            result::set_matmul_pref_attribute(preference, key, room.cast(), 8).map_err(told)?;
            let [a, b, d] = layouts;
            let found = result::get_matmul_algo_heuristic(self.handle, desc, a, b, d, d, preference);
            let _ = result::destroy_matmul_pref(preference);
            let algorithm = found.map_err(told)?.algo;
            Ok(Product { desc, layouts, algorithm, integers: format == Format::Int8 })
        }
    }

    /// Puts `out = weights * tokens` on the stream.
    ///
    /// # Errors
    /// What cublasLt says.
    pub fn run(&self, gpu: &Gpu, product: &Product, weights: u64, tokens: u64, out: u64) -> Result<()> {
        let (one, zero) = (1.0_f32, 0.0_f32);
        let (one_int, zero_int) = (1_i32, 0_i32);
        let (alpha, beta): (*const c_void, *const c_void) = if product.integers {
            (std::ptr::from_ref(&one_int).cast(), std::ptr::from_ref(&zero_int).cast())
        } else {
            (std::ptr::from_ref(&one).cast(), std::ptr::from_ref(&zero).cast())
        };
        let [a, b, d] = product.layouts;
        // SAFETY: callers pass buffers of the shapes' sizes.
        unsafe {
            result::matmul(
                self.handle,
                product.desc,
                alpha,
                beta,
                weights as *const c_void,
                a,
                tokens as *const c_void,
                b,
                out as *const c_void,
                d,
                out as *mut c_void,
                d,
                &product.algorithm,
                self.workspace.at as *mut c_void,
                WORKSPACE as usize,
                gpu.stream.cast(),
            )
            .map_err(told)
        }
    }
}
