//! The KV blocks of the fast engine, by the run.
//!
//! What the stepwise engine knows of every block, its identity, matters only where its content can be found
//! again. So blocks are counted, and only these have a node of their own: full blocks with content that
//! other sequences may ask for. A preempted sequence's own full blocks, which nobody else can find, are one
//! run; all others are anonymous. The queue of free blocks, least recently freed first, is a list of such
//! runs and nodes: without shared content it has one element.

use std::collections::BTreeMap;

/// No node.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Vacant,
    /// So many free blocks that hold nothing of use.
    Anonymous(u32),
    /// So many free blocks of one waiting sequence, the last of them at the head.
    Own(u32),
    /// A block with this content, in so many hands.
    Block {
        content: u64,
        references: u32,
    },
}

#[derive(Debug, Clone, Copy)]
struct Node {
    kind: Kind,
    /// Neighbours in the queue of free blocks, for those in it.
    previous: u32,
    next: u32,
    /// Neighbours among the blocks of the same content.
    older: u32,
    younger: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Cache {
    usable: u32,
    free: u32,
    nodes: Vec<Node>,
    vacant: Vec<u32>,
    /// The ends of the queue of free blocks.
    head: u32,
    tail: u32,
    /// The oldest and the youngest block of each content: the oldest is the one that is found.
    contents: BTreeMap<u64, (u32, u32)>,
}

impl Cache {
    pub(super) fn new(usable: u32) -> Self {
        let mut cache = Self {
            usable,
            free: 0,
            nodes: Vec::new(),
            vacant: Vec::new(),
            head: NONE,
            tail: NONE,
            contents: BTreeMap::new(),
        };
        cache.put(usable);
        cache
    }

    /// Frees and forgets everything.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.usable);
    }

    #[inline]
    pub(super) fn free(&self) -> u32 {
        self.free
    }

    #[inline]
    pub(super) fn used(&self) -> u32 {
        self.usable - self.free
    }

    /// Takes the blocks that were freed longest ago; what they hold is forgotten.
    ///
    /// # Panics
    /// If so many are not free.
    #[inline]
    pub(super) fn take(&mut self, count: u32) {
        self.free = self.free.checked_sub(count).expect("no free KV block: the caller compares first");
        match self.nodes.get_mut(self.head as usize) {
            Some(Node { kind: Kind::Anonymous(run), .. }) if *run > count => *run -= count,
            _ => self.take_several(count),
        }
    }

    /// Takes blocks from the head of the queue that may be of several kinds.
    fn take_several(&mut self, mut count: u32) {
        while count > 0 {
            let head = self.head;
            match &mut self.nodes[head as usize].kind {
                Kind::Anonymous(run) if *run > count => {
                    *run -= count;
                    return;
                }
                Kind::Anonymous(run) => {
                    count -= *run;
                    self.unlink(head);
                    self.vacate(head);
                }
                Kind::Own(run) => {
                    let taken = count.min(*run);
                    *run -= taken;
                    count -= taken;
                    // Its owner still has the node.
                    if *run == 0 {
                        self.unlink(head);
                    }
                }
                Kind::Block { .. } => {
                    count -= 1;
                    self.unlink(head);
                    self.forget(head);
                }
                Kind::Vacant => unreachable!("a vacant node is in no queue"),
            }
        }
    }

    /// Frees blocks that hold nothing of use.
    #[inline]
    pub(super) fn put(&mut self, count: u32) {
        if count == 0 {
            return;
        }
        self.free += count;
        if let Some(Node { kind: Kind::Anonymous(run), .. }) = self.nodes.get_mut(self.tail as usize) {
            *run += count;
            return;
        }
        let node = self.node(Kind::Anonymous(count));
        self.push(node);
    }

    /// Frees full blocks of a sequence that alone can find them.
    pub(super) fn put_own(&mut self, count: u32) -> u32 {
        self.free += count;
        let node = self.node(Kind::Own(count));
        self.push(node);
        node
    }

    /// How many of the blocks are still there.
    pub(super) fn own(&self, node: u32) -> u32 {
        match self.nodes.get(node as usize) {
            Some(Node { kind: Kind::Own(run), .. }) => *run,
            _ => 0,
        }
    }

    /// Gives them back to their sequence.
    pub(super) fn claim_own(&mut self, node: u32) {
        let count = self.own(node);
        if count > 0 {
            self.free -= count;
            self.unlink(node);
        }
        self.vacate(node);
    }

    /// Their sequence is gone.
    pub(super) fn abandon_own(&mut self, node: u32) {
        match self.own(node) {
            0 => self.vacate(node),
            count => self.nodes[node as usize].kind = Kind::Anonymous(count),
        }
    }

    /// The oldest block with this content.
    pub(super) fn find(&self, content: u64) -> Option<u32> {
        self.contents.get(&content).map(|(oldest, _)| *oldest)
    }

    /// A block in use is full and holds this.
    pub(super) fn register(&mut self, content: u64) -> u32 {
        let node = self.node(Kind::Block { content, references: 1 });
        let (_, youngest) = self.contents.entry(content).or_insert((node, NONE));
        let older = std::mem::replace(youngest, node);
        self.nodes[node as usize].older = older;
        if older != NONE {
            self.nodes[older as usize].younger = node;
        }
        node
    }

    /// What a block held is no longer known; the block itself is the caller's.
    pub(super) fn forget(&mut self, node: u32) {
        self.unlearn(node);
        self.vacate(node);
    }

    /// Forgets what all free blocks hold, but for those of waiting sequences; they stay in their order.
    pub(super) fn forget_free(&mut self) {
        let mut node = self.head;
        while node != NONE {
            if self.is_free(node) {
                self.unlearn(node);
                self.nodes[node as usize].kind = Kind::Anonymous(1);
            }
            node = self.nodes[node as usize].next;
        }
    }

    /// Takes a block out of those that are found by their content.
    fn unlearn(&mut self, node: u32) {
        let Node { kind: Kind::Block { content, .. }, older, younger, .. } = self.nodes[node as usize] else {
            unreachable!("only a block has content")
        };
        if older != NONE {
            self.nodes[older as usize].younger = younger;
        }
        if younger != NONE {
            self.nodes[younger as usize].older = older;
        }
        if older == NONE && younger == NONE {
            self.contents.remove(&content);
        } else if let Some((oldest, youngest)) = self.contents.get_mut(&content) {
            if older == NONE {
                *oldest = younger;
            }
            if younger == NONE {
                *youngest = older;
            }
        }
    }

    /// Whether nobody uses a block.
    pub(super) fn is_free(&self, node: u32) -> bool {
        matches!(self.nodes[node as usize].kind, Kind::Block { references: 0, .. })
    }

    /// One more sequence uses a block.
    pub(super) fn share(&mut self, node: u32) {
        if self.is_free(node) {
            self.free -= 1;
            self.unlink(node);
        }
        *self.references(node) += 1;
    }

    /// One less does.
    pub(super) fn release(&mut self, node: u32) {
        let references = self.references(node);
        *references = references.checked_sub(1).expect("a block is released once per reference");
        if *references == 0 {
            self.free += 1;
            self.push(node);
        }
    }

    fn references(&mut self, node: u32) -> &mut u32 {
        match &mut self.nodes[node as usize].kind {
            Kind::Block { references, .. } => references,
            other => unreachable!("{other:?} is no block"),
        }
    }

    fn node(&mut self, kind: Kind) -> u32 {
        let node = Node { kind, previous: NONE, next: NONE, older: NONE, younger: NONE };
        if let Some(index) = self.vacant.pop() {
            self.nodes[index as usize] = node;
            return index;
        }
        self.nodes.push(node);
        self.nodes.len() as u32 - 1
    }

    fn vacate(&mut self, node: u32) {
        self.nodes[node as usize].kind = Kind::Vacant;
        self.vacant.push(node);
    }

    fn push(&mut self, node: u32) {
        let tail = std::mem::replace(&mut self.tail, node);
        (self.nodes[node as usize].previous, self.nodes[node as usize].next) = (tail, NONE);
        match self.nodes.get_mut(tail as usize) {
            Some(tail) => tail.next = node,
            None => self.head = node,
        }
    }

    fn unlink(&mut self, node: u32) {
        let Node { previous, next, .. } = self.nodes[node as usize];
        match self.nodes.get_mut(previous as usize) {
            Some(previous) => previous.next = next,
            None => self.head = next,
        }
        match self.nodes.get_mut(next as usize) {
            Some(next) => next.previous = previous,
            None => self.tail = previous,
        }
    }

    /// Checks the queue and the contents: O(nodes).
    #[cfg(test)]
    pub(super) fn check(&self) {
        let mut free = 0;
        let (mut node, mut previous) = (self.head, NONE);
        while node != NONE {
            assert_eq!(self.nodes[node as usize].previous, previous);
            free += match self.nodes[node as usize].kind {
                Kind::Anonymous(run) | Kind::Own(run) => run,
                Kind::Block { references, .. } => 1 - references,
                Kind::Vacant => panic!("a vacant node is in no queue"),
            };
            (previous, node) = (node, self.nodes[node as usize].next);
        }
        assert_eq!((free, previous), (self.free, self.tail));
        assert!(self.free <= self.usable);
        let mut listed = 0;
        for (content, (oldest, youngest)) in &self.contents {
            let (mut node, mut older) = (*oldest, NONE);
            while node != NONE {
                listed += 1;
                assert_eq!(self.nodes[node as usize].older, older);
                assert!(
                    matches!(self.nodes[node as usize].kind, Kind::Block { content: c, .. } if c == *content)
                );
                (older, node) = (node, self.nodes[node as usize].younger);
            }
            assert_eq!(older, *youngest);
        }
        let blocks = self.nodes.iter().filter(|node| matches!(node.kind, Kind::Block { .. })).count();
        assert_eq!(listed, blocks);
        let used = self.nodes.iter().filter(|node| matches!(node.kind, Kind::Vacant)).count();
        assert_eq!(used, self.vacant.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_shared_content_the_queue_is_one_run() {
        let mut cache = Cache::new(100);
        for count in [30, 70, 1] {
            cache.take(count);
            cache.put(count);
            cache.check();
        }
        assert_eq!((cache.nodes.len() - cache.vacant.len(), cache.used()), (1, 0));
    }

    #[test]
    fn runs_are_taken_in_the_order_in_which_they_were_freed() {
        let mut cache = Cache::new(10);
        cache.take(10);
        let block = cache.register(7);
        let other = cache.register(7);
        let own = cache.put_own(3);
        cache.release(block);
        cache.put(2);
        assert_eq!((cache.free(), cache.own(own), cache.find(7)), (6, 3, Some(block)));
        cache.take(2);
        assert_eq!((cache.own(own), cache.find(7)), (1, Some(block)));
        cache.take(2);
        cache.check();
        assert_eq!((cache.own(own), cache.find(7)), (0, Some(other)));
        cache.claim_own(own);
        cache.share(other);
        cache.release(other);
        cache.release(other);
        cache.check();
        assert_eq!((cache.free(), cache.find(7)), (3, Some(other)));
        cache.take(3);
        assert_eq!((cache.free(), cache.find(7)), (0, None));
    }
}
