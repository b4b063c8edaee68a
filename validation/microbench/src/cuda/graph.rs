//! Work recorded once and launched as a whole.

use cudarc::driver::{result, sys};

use super::{Error, Gpu, Result, Told};

/// Recorded work.
pub struct Graph {
    graph: sys::CUgraph,
    exec: sys::CUgraphExec,
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: both were made, and are destroyed once.
        unsafe {
            let _ = result::graph::exec_destroy(self.exec);
            let _ = result::graph::destroy(self.graph);
        }
    }
}

impl Gpu {
    /// Records what `work` puts on the stream.
    pub fn capture(&self, work: impl FnOnce() -> Result<()>) -> Result<Graph> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream is there; the graph is owned by what is returned.
        unsafe {
            result::stream::begin_capture(self.stream, mode).told("cuStreamBeginCapture")?;
            let done = work();
            let graph = result::stream::end_capture(self.stream).told("cuStreamEndCapture");
            done?;
            let graph = graph?;
            if graph.is_null() {
                return Err(Error::Other("a recording came to nothing".into()));
            }
            let flags = sys::CUgraphInstantiate_flags(0);
            let exec = result::graph::instantiate(graph, flags).told("cuGraphInstantiate")?;
            Ok(Graph { graph, exec })
        }
    }

    /// Launches it on the stream.
    pub fn replay(&self, graph: &Graph) -> Result<()> {
        // SAFETY: graph and stream are there.
        unsafe { result::graph::launch(graph.exec, self.stream) }.told("cuGraphLaunch")
    }
}
