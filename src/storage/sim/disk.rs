//! The state of the simulated machine's disk: files, directories, names, and the effect of a crash.
//!
//! Owns the two views of names. Must never make a name durable except through a sync or a crash.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Component, Path};
use std::sync::Arc;

use super::crash::{Crash, DirectoryModel, Plan};
use super::inode::Inode;

pub(super) type NodeId = u64;
pub(super) const ROOT: NodeId = 0;

/// Which of the two views of names a path is looked up in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Live,
    Durable,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    File(Arc<Inode>),
    Directory(Arc<Directory>),
}

/// A directory: the names that programs see, the durable ones, and the changes between the two.
#[derive(Debug, Clone, Default)]
pub(super) struct Directory {
    live: BTreeMap<String, NodeId>,
    durable: BTreeMap<String, NodeId>,
    unsynced: Vec<(u64, NameChange)>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Link(String, NodeId),
    Unlink(String),
    Rename(String, String),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, NodeId>) {
        match self {
            Self::Link(name, node) => {
                names.insert(name.clone(), *node);
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

impl Directory {
    pub(super) fn names(&self, view: View) -> &BTreeMap<String, NodeId> {
        match view {
            View::Live => &self.live,
            View::Durable => &self.durable,
        }
    }

    fn change(&mut self, at: u64, change: NameChange) {
        change.apply(&mut self.live);
        self.unsynced.push((at, change));
    }

    /// Makes the first `count` changes durable.
    fn settle(&mut self, count: usize) {
        for (_, change) in self.unsynced.drain(..count) {
            change.apply(&mut self.durable);
        }
    }

    fn settle_through(&mut self, last: u64) {
        let count = self.unsynced.partition_point(|(at, _)| *at <= last);
        self.settle(count);
    }

    fn moments(&self) -> Vec<u64> {
        self.unsynced.iter().map(|(at, _)| *at).collect()
    }
}

/// The whole disk. A clone shares everything until one of the two changes it.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    nodes: BTreeMap<NodeId, Node>,
    next_node: NodeId,
    /// The number of the last operation that changed something.
    now: u64,
    pub(super) model: DirectoryModel,
    /// Bytes that can still be allocated; `None` for no limit.
    pub(super) free: Option<u64>,
}

impl Disk {
    pub(super) fn new(model: DirectoryModel) -> Self {
        let root = Node::Directory(Arc::default());
        let nodes = BTreeMap::from([(ROOT, root)]);
        Self { nodes, next_node: ROOT + 1, now: 0, model, free: None }
    }

    /// Counts a changing operation and returns its number.
    pub(super) fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    pub(super) fn file(&self, node: NodeId) -> io::Result<&Inode> {
        match self.nodes.get(&node) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Directory(_)) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn file_mut(&mut self, node: NodeId) -> io::Result<&mut Inode> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(file)) => Ok(Arc::make_mut(file)),
            Some(Node::Directory(_)) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn directory(&self, node: NodeId) -> io::Result<&Directory> {
        match self.nodes.get(&node) {
            Some(Node::Directory(directory)) => Ok(directory),
            Some(Node::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn directory_mut(&mut self, node: NodeId) -> io::Result<&mut Directory> {
        match self.nodes.get_mut(&node) {
            Some(Node::Directory(directory)) => Ok(Arc::make_mut(directory)),
            Some(Node::File(_)) => Err(ErrorKind::NotADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn directories_mut(&mut self) -> impl Iterator<Item = &mut Directory> {
        self.nodes.values_mut().filter_map(|node| match node {
            Node::Directory(directory) if !directory.unsynced.is_empty() => {
                Some(Arc::make_mut(directory))
            }
            _ => None,
        })
    }

    pub(super) fn is_directory(&self, node: NodeId) -> bool {
        matches!(self.nodes.get(&node), Some(Node::Directory(_)))
    }

    /// The node at a path; an error if there is none.
    pub(super) fn find(&self, path: &Path, view: View) -> io::Result<NodeId> {
        let mut node = ROOT;
        for name in components(path) {
            let names = self.directory(node)?.names(view);
            node = *names.get(&*name?).ok_or(ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    /// The node at a path; `None` if there is none.
    pub(super) fn find_live(&self, path: &Path) -> io::Result<Option<NodeId>> {
        match self.find(path, View::Live) {
            Ok(node) => Ok(Some(node)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The directory that a path's last name is in, and that name.
    fn place(&self, path: &Path) -> io::Result<(NodeId, String)> {
        let mut names = components(path).collect::<io::Result<Vec<_>>>()?;
        let name = names.pop().ok_or(ErrorKind::InvalidInput)?;
        let mut node = ROOT;
        for name in names {
            node = *self.directory(node)?.live.get(&*name).ok_or(ErrorKind::NotFound)?;
        }
        self.directory(node)?;
        Ok((node, name.into_owned()))
    }

    fn add(&mut self, path: &Path, new: Node) -> io::Result<NodeId> {
        let (directory, name) = self.place(path)?;
        if self.free == Some(0) {
            return Err(ErrorKind::StorageFull.into());
        }
        let node = self.next_node;
        self.next_node += 1;
        self.nodes.insert(node, new);
        let at = self.tick();
        self.directory_mut(directory)?.change(at, NameChange::Link(name, node));
        Ok(node)
    }

    /// Creates a file at an unused path.
    pub(super) fn add_file(&mut self, path: &Path) -> io::Result<NodeId> {
        self.add(path, Node::File(Arc::default()))
    }

    /// Creates a directory at an unused path.
    pub(super) fn add_directory(&mut self, path: &Path) -> io::Result<NodeId> {
        self.add(path, Node::Directory(Arc::default()))
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find(from, View::Live)?;
        let (from_directory, from_name) = self.place(from)?;
        let (to_directory, to_name) = self.place(to)?;
        let replaced = self.find_live(to)?;
        if replaced == Some(node) {
            return Ok(());
        }
        if let Some(replaced) = replaced {
            self.file(replaced)?;
            self.file(node)?;
            self.give_back(replaced)?;
        }
        let at = self.tick();
        if from_directory == to_directory {
            let change = NameChange::Rename(from_name, to_name);
            self.directory_mut(from_directory)?.change(at, change);
        } else {
            self.directory_mut(to_directory)?.change(at, NameChange::Link(to_name, node));
            self.directory_mut(from_directory)?.change(at, NameChange::Unlink(from_name));
        }
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let node = self.find(path, View::Live)?;
        self.file(node)?;
        self.give_back(node)?;
        let (directory, name) = self.place(path)?;
        let at = self.tick();
        self.directory_mut(directory)?.change(at, NameChange::Unlink(name));
        Ok(())
    }

    fn give_back(&mut self, node: NodeId) -> io::Result<()> {
        let backed = self.file(node)?.backed();
        if let Some(free) = &mut self.free {
            *free += backed;
        }
        Ok(())
    }

    /// Syncs a file's data. Whether that makes its name durable depends on the [`DirectoryModel`].
    pub(super) fn sync_file(&mut self, node: NodeId) -> io::Result<()> {
        self.tick();
        self.file_mut(node)?.sync();
        if self.model == DirectoryModel::Ext4Like {
            let links = self.nodes.values().filter_map(|holder| match holder {
                Node::Directory(directory) => Some(&directory.unsynced),
                Node::File(_) => None,
            });
            let linked = links
                .flatten()
                .filter(|(_, change)| matches!(change, NameChange::Link(_, it) if *it == node))
                .map(|(at, _)| *at)
                .max();
            if let Some(last) = linked {
                self.settle_names_through(last);
            }
        }
        Ok(())
    }

    pub(super) fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        let node = self.find(path, View::Live)?;
        self.tick();
        let last = self.directory(node)?.unsynced.last().map(|(at, _)| *at);
        match (self.model, last) {
            (_, None) => {}
            (DirectoryModel::Strict, Some(last)) => self.directory_mut(node)?.settle_through(last),
            (DirectoryModel::Ext4Like, Some(last)) => self.settle_names_through(last),
        }
        Ok(())
    }

    fn settle_names_through(&mut self, last: u64) {
        self.directories_mut().for_each(|directory| directory.settle_through(last));
    }

    /// Creates a file and the directories above it, or replaces its contents; all of it is durable at
    /// once.
    pub(super) fn put_settled(&mut self, path: &Path, bytes: Option<&[u8]>) -> io::Result<()> {
        let names = components(path).collect::<io::Result<Vec<_>>>()?;
        let mut node = ROOT;
        for (depth, name) in names.iter().enumerate() {
            let contents = if depth + 1 == names.len() { bytes } else { None };
            let found = self.directory(node)?.live.get(&**name).copied();
            let next = match (found, contents) {
                (Some(next), None) if self.is_directory(next) => next,
                (Some(next), Some(_)) if self.is_directory(next) => {
                    return Err(ErrorKind::IsADirectory.into());
                }
                (Some(_), None) => return Err(ErrorKind::NotADirectory.into()),
                (found, contents) => {
                    let next = found.unwrap_or(self.next_node);
                    self.next_node = self.next_node.max(next + 1);
                    let new = match contents {
                        Some(bytes) => Node::File(Arc::new(Inode::settled(bytes))),
                        None => Node::Directory(Arc::default()),
                    };
                    self.nodes.insert(next, new);
                    next
                }
            };
            let at = self.now;
            let directory = self.directory_mut(node)?;
            directory.settle_through(at);
            directory.live.insert(name.to_string(), next);
            directory.durable.insert(name.to_string(), next);
            node = next;
        }
        Ok(())
    }

    /// A power loss and a restart: the surviving state is both visible and durable.
    pub(super) fn crash(&mut self, crash: &Crash) {
        let mut plan = Plan::new(crash, self.first_unsynced().unwrap_or(self.now + 1), self.now);
        self.crash_names(&mut plan);
        self.forget_unreachable();
        for node in self.nodes.values_mut() {
            if let Node::File(file) = node
                && !file.is_settled()
            {
                let image = file.after_crash(&mut plan);
                *file = Arc::new(file.survivor(image));
            }
        }
    }

    fn first_unsynced(&self) -> Option<u64> {
        self.nodes
            .values()
            .filter_map(|node| match node {
                Node::File(file) => file.first_unsynced(),
                Node::Directory(directory) => directory.unsynced.first().map(|(at, _)| *at),
            })
            .min()
    }

    fn crash_names(&mut self, plan: &mut Plan) {
        match self.model {
            DirectoryModel::Strict => {
                for directory in self.directories_mut() {
                    let count = plan.names(&directory.moments());
                    directory.settle(count);
                }
            }
            DirectoryModel::Ext4Like => {
                let moments = self.directories_mut().map(|directory| directory.moments());
                let mut moments: Vec<u64> = moments.flatten().collect();
                moments.sort_unstable();
                moments.dedup();
                let count = plan.names(&moments);
                if let Some(last) = count.checked_sub(1) {
                    self.settle_names_through(moments[last]);
                }
            }
        }
        for directory in self.directories_mut() {
            directory.unsynced.clear();
            directory.live.clone_from(&directory.durable);
        }
    }

    fn forget_unreachable(&mut self) {
        let mut reached = BTreeSet::from([ROOT]);
        let mut to_visit = vec![ROOT];
        while let Some(node) = to_visit.pop() {
            if let Some(Node::Directory(directory)) = self.nodes.get(&node) {
                let new = directory.live.values().filter(|child| reached.insert(**child));
                to_visit.extend(new);
            }
        }
        self.nodes.retain(|node, _| reached.contains(node));
    }

    /// The number of sectors that a power loss may revert.
    pub(super) fn unsynced_sectors(&self) -> usize {
        let files = self.nodes.values().filter_map(|node| match node {
            Node::File(file) => Some(file.unsynced_sectors()),
            Node::Directory(_) => None,
        });
        files.sum()
    }

    pub(super) fn unsynced_names(&self) -> usize {
        let directories = self.nodes.values().filter_map(|node| match node {
            Node::Directory(directory) => Some(directory.unsynced.len()),
            Node::File(_) => None,
        });
        directories.sum()
    }
}

/// The path with `/` between its names, the only separator the simulated disk has: on Windows the
/// engine joins names with another one.
pub(super) fn slashed(path: &Path) -> String {
    path.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/")
}

/// The names a path is made of, from the root; relative paths start there too.
fn components(path: &Path) -> impl Iterator<Item = io::Result<Cow<'_, str>>> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(Ok(name.to_string_lossy())),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        Component::ParentDir => Some(Err(ErrorKind::InvalidInput.into())),
    })
}
