//! The CUDA driver, NVRTC and cublasLt: the only place that calls them. They are loaded at run time, so that the
//! program builds and starts without CUDA.

#![expect(unsafe_code, reason = "C libraries")]

mod compile;
mod graph;
mod libraries;
mod lt;
mod nvml;

use std::ffi::{CStr, CString, c_void};
use std::rc::Rc;

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};
use thiserror::Error;

pub use compile::{Sources, check_all, version as nvrtc_version};
pub use libraries::find_libraries;
pub use lt::{Lt, Product, element_bytes};
pub use nvml::nvml_facts;

/// What went wrong, and whether it is that something is not on this machine.
#[derive(Debug, Error)]
pub enum Error {
    /// A library or a device is not there.
    #[error("{0}")]
    Missing(String),
    /// A call failed.
    #[error("{what}: {why}")]
    Call {
        /// The call.
        what: String,
        /// The library's answer.
        why: String,
    },
    /// Something else.
    #[error("{0}")]
    Other(String),
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Names a failed call.
pub(crate) trait Told<T> {
    fn told(self, what: &str) -> Result<T>;
}

impl<T> Told<T> for std::result::Result<T, DriverError> {
    fn told(self, what: &str) -> Result<T> {
        self.map_err(|error| Error::Call { what: what.to_owned(), why: format!("{:?}", error.0) })
    }
}

/// A device, with a context and a stream on it.
pub struct Gpu {
    device: sys::CUdevice,
    stream: sys::CUstream,
    elapsed: Elapsed,
    events: [sys::CUevent; 2],
}

type Elapsed = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> sys::CUresult;

/// Memory of the device.
pub struct Buffer {
    /// Where it begins.
    pub at: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: it was allocated, and is freed once.
        let _ = unsafe { result::free_sync(self.at) };
    }
}

/// Memory of the host that the device reads and writes by itself.
pub struct Pinned {
    at: *mut c_void,
    bytes: usize,
}

impl Pinned {
    /// The memory.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: it was allocated with this length, and is borrowed with `self`.
        unsafe { std::slice::from_raw_parts_mut(self.at.cast(), self.bytes) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: it was allocated, and is freed once.
        let _ = unsafe { result::free_host(self.at) };
    }
}

/// A compiled kernel.
#[derive(Clone, Copy)]
pub struct Kernel(sys::CUfunction);

/// A kernel's argument.
#[derive(Clone, Copy)]
pub enum Arg {
    /// 64 bits, such as an address.
    Wide(u64),
    /// 32 bits.
    Narrow(u32),
}

impl Gpu {
    /// The first device.
    ///
    /// # Errors
    /// No driver, or no device.
    pub fn open() -> Result<Self> {
        // SAFETY: only asks whether the library can be loaded.
        if !unsafe { sys::is_culib_present() } {
            let missing = "no NVIDIA driver: libcuda.so.1 cannot be loaded (it comes with the driver)";
            return Err(Error::Missing(missing.into()));
        }
        result::init()
            .map_err(|error| Error::Missing(format!("the driver does not start: {:?}", error.0)))?;
        if result::device::get_count().told("cuDeviceGetCount")? == 0 {
            return Err(Error::Missing("no CUDA device".into()));
        }
        let device = result::device::get(0).told("cuDeviceGet")?;
        // SAFETY: the device is there; the context stays for the life of the process.
        let elapsed = unsafe {
            let context = result::primary_ctx::retain(device).told("cuDevicePrimaryCtxRetain")?;
            result::ctx::set_current(context).told("cuCtxSetCurrent")?;
            // By its first name, which older drivers have, too.
            *sys::culib().get::<Elapsed>(b"cuEventElapsedTime").map_err(|e| Error::Missing(e.to_string()))?
        };
        let kind = result::stream::StreamKind::NonBlocking;
        let stream = result::stream::create(kind).told("cuStreamCreate")?;
        let event = || result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).told("cuEventCreate");
        Ok(Self { device, stream, elapsed, events: [event()?, event()?] })
    }

    /// An attribute of the device.
    pub fn attribute(&self, which: Attribute) -> i32 {
        // SAFETY: the device is there.
        unsafe { result::device::get_attribute(self.device, which) }.unwrap_or(0)
    }

    /// Its name.
    pub fn name(&self) -> String {
        result::device::get_name(self.device).unwrap_or_default()
    }

    /// The compute capability: 90 for 9.0.
    pub fn capability(&self) -> i32 {
        10 * self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
            + self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)
    }

    /// Streaming multiprocessors.
    pub fn multiprocessors(&self) -> u32 {
        self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT).unsigned_abs()
    }

    /// The second-level cache in bytes.
    pub fn l2_bytes(&self) -> u64 {
        u64::from(self.attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE).unsigned_abs())
    }

    /// CUDA version that the driver offers.
    pub fn cuda_version(&self) -> String {
        let mut version = 0;
        // SAFETY: writes one integer.
        let _ = unsafe { sys::cuDriverGetVersion(&mut version) };
        format!("{}.{}", version / 1000, version % 1000 / 10)
    }

    /// Free memory and all memory, in bytes.
    pub fn memory(&self) -> Result<(u64, u64)> {
        let (free, all) = result::mem_get_info().told("cuMemGetInfo")?;
        Ok((free as u64, all as u64))
    }

    /// Memory of the device.
    pub fn alloc(&self, bytes: u64) -> Result<Buffer> {
        // SAFETY: the buffer owns it.
        let at = unsafe { result::malloc_sync(bytes.max(1) as usize) };
        Ok(Buffer { at: at.told(&format!("cuMemAlloc of {bytes} bytes"))?, bytes })
    }

    /// Allocates on the stream, and frees again (`free`).
    pub fn alloc_async(&self, bytes: u64) -> Result<u64> {
        // SAFETY: the caller gives it back.
        unsafe { result::malloc_async(self.stream, bytes as usize) }.told("cuMemAllocAsync")
    }

    /// Gives back what [`Gpu::alloc_async`] gave.
    pub fn free_async(&self, at: u64) -> Result<()> {
        // SAFETY: it was allocated so.
        unsafe { result::free_async(at, self.stream) }.told("cuMemFreeAsync")
    }

    /// Pinned memory of the host.
    pub fn pinned(&self, bytes: usize) -> Result<Pinned> {
        // SAFETY: the value owns it.
        let at = unsafe { result::malloc_host(bytes, 0) }.told("cuMemHostAlloc")?;
        Ok(Pinned { at, bytes })
    }

    /// Copies to the device, on the stream.
    pub fn upload<T: Copy>(&self, to: u64, from: &[T]) -> Result<()> {
        // SAFETY: callers pass places within buffers; the host's memory is kept until they synchronize.
        unsafe { result::memcpy_htod_async(to, from, self.stream) }.told("cuMemcpyHtoDAsync")
    }

    /// Copies from the device, on the stream.
    pub fn download<T: Copy>(&self, to: &mut [T], from: u64) -> Result<()> {
        // SAFETY: as above.
        unsafe { result::memcpy_dtoh_async(to, from, self.stream) }.told("cuMemcpyDtoHAsync")
    }

    /// Copies within the device, on the stream.
    pub fn copy(&self, to: u64, from: u64, bytes: u64) -> Result<()> {
        // SAFETY: callers pass places within buffers.
        unsafe { result::memcpy_dtod_async(to, from, bytes as usize, self.stream) }.told("cuMemcpyDtoDAsync")
    }

    /// A new buffer with these values.
    pub fn buffer_of<T: Copy>(&self, values: &[T]) -> Result<Buffer> {
        let buffer = self.alloc(size_of_val(values) as u64)?;
        self.upload(buffer.at, values)?;
        self.wait()?;
        Ok(buffer)
    }

    /// The values at a place.
    pub fn values<T: Copy + Default>(&self, at: u64, count: usize) -> Result<Vec<T>> {
        let mut values = vec![T::default(); count];
        self.download(&mut values, at)?;
        self.wait()?;
        Ok(values)
    }

    /// Waits for the stream.
    pub fn wait(&self) -> Result<()> {
        // SAFETY: the stream is there.
        unsafe { result::stream::synchronize(self.stream) }.told("cuStreamSynchronize")
    }

    /// Launches a kernel on the stream.
    pub fn launch(&self, kernel: Kernel, grid: [u32; 3], threads: u32, args: &[Arg]) -> Result<()> {
        let mut cells: Vec<u64> = args
            .iter()
            .map(|arg| match arg {
                Arg::Wide(value) => *value,
                Arg::Narrow(value) => u64::from(*value),
            })
            .collect();
        let mut pointers: Vec<*mut c_void> =
            cells.iter_mut().map(|cell| std::ptr::from_mut(cell).cast()).collect();
        let (grid, block) = ((grid[0], grid[1], grid[2]), (threads, 1, 1));
        // SAFETY: the cells outlive the call, which copies them; little-endian hosts only, as CUDA has.
        unsafe { result::launch_kernel(kernel.0, grid, block, 0, self.stream, &mut pointers) }
            .told("cuLaunchKernel")
    }

    /// Blocks of `threads` of a kernel that run at once on the device.
    pub fn resident(&self, kernel: Kernel, threads: u32) -> Result<u64> {
        let mut blocks = 0;
        // SAFETY: the function is loaded; one integer is written.
        let done = unsafe {
            sys::cuOccupancyMaxActiveBlocksPerMultiprocessor(&mut blocks, kernel.0, threads as i32, 0)
        };
        done.result().told("cuOccupancyMaxActiveBlocksPerMultiprocessor")?;
        Ok(u64::from(blocks.unsigned_abs().max(1)) * u64::from(self.multiprocessors()))
    }

    /// Milliseconds of the device between the start and the end of `work` on the stream.
    pub fn elapsed_ms(&self, work: impl FnOnce() -> Result<()>) -> Result<f64> {
        let [start, end] = self.events;
        // SAFETY: events and stream are there.
        unsafe {
            result::event::record(start, self.stream).told("cuEventRecord")?;
            work()?;
            result::event::record(end, self.stream).told("cuEventRecord")?;
            result::event::synchronize(end).told("cuEventSynchronize")?;
            let mut ms = 0.0_f32;
            (self.elapsed)(&mut ms, start, end).result().told("cuEventElapsedTime")?;
            Ok(f64::from(ms))
        }
    }

    /// A module from a compiled image.
    fn load(&self, image: &[u8]) -> Result<Module> {
        // SAFETY: the image is what NVRTC gave.
        let module = unsafe { result::module::load_data(image.as_ptr().cast()) };
        Ok(Module(Rc::new(module.told("cuModuleLoadData")?)))
    }
}

/// Compiled kernels; they stay loaded.
#[derive(Clone)]
pub struct Module(Rc<sys::CUmodule>);

impl Module {
    /// A kernel by its name.
    pub fn kernel(&self, name: &str) -> Result<Kernel> {
        let c_name = CString::new(name).map_err(|error| Error::Other(error.to_string()))?;
        // SAFETY: the module is loaded.
        let function = unsafe { result::module::get_function(*self.0, c_name) };
        Ok(Kernel(function.told(&format!("kernel {name}"))?))
    }
}

/// C text as a string.
fn text(bytes: &[u8]) -> String {
    CStr::from_bytes_until_nul(bytes).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}
