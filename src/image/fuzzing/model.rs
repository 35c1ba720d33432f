//! A layer in memory: what an archive must come to. Written from the rules, not from the code that it checks: entries in
//! order, the later one wins; symbolic links lead beneath the root; whiteouts hide what is below and not what is here.

use std::collections::BTreeMap;

use super::Place;
use super::entries::{Kind, decode, push};

const MAX_OPERATIONS: usize = 24;
/// As many symbolic links as the kernel follows.
const MAX_LINKS: usize = 40;

/// Unpacks an archive made of few names, a few bytes of `data` each entry, and compares with the model.
pub fn tree(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let bottom = first & 1 == 1;
    let mut archive = vec![];
    let mut model = Model::new(bottom);
    let mut expected = Ok(());
    for (number, operation) in rest.chunks_exact(3).take(MAX_OPERATIONS).enumerate() {
        let (kind, name, target) = decode(operation);
        let number = number as u8;
        push(&mut archive, kind, name, target, number);
        expected = expected.and_then(|()| model.apply(kind, name, target, number));
    }
    let place = Place::new();
    let made = place.unpack(&archive, bottom);
    place.check();
    match (made, expected) {
        (Ok(inodes), Ok(())) => model.compare(&place.root(), inodes),
        (Err(_), Err(_)) => {}
        (made, expected) => panic!("unpacking gave {made:?}, the model {expected:?}"),
    }
}

/// An inode of the model; directories hold others by number, so that hard links are one.
#[derive(Debug)]
pub(super) enum Node {
    Directory {
        names: BTreeMap<String, usize>,
        opaque: bool,
        /// When the archive says that it changed; nothing, if it is not described.
        time: Option<u8>,
    },
    File(u8),
    Symlink(String),
    Fifo,
    Whiteout,
}

#[derive(Debug, PartialEq)]
enum Refusal {
    Missing,
    NotADirectory,
    Entry,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) nodes: Vec<Node>,
    bottom: bool,
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Components joined by single slashes; none with `..`.
fn normal(name: &str) -> Result<String, Refusal> {
    let parts: Vec<&str> = name.split('/').filter(|p| !matches!(*p, "" | ".")).collect();
    match parts.contains(&"..") {
        true => Err(Refusal::Entry),
        false => Ok(parts.join("/")),
    }
}

impl Model {
    fn new(bottom: bool) -> Model {
        let root = Node::Directory {
            names: BTreeMap::new(),
            opaque: false,
            time: None,
        };
        Model {
            nodes: vec![root],
            bottom,
        }
    }

    fn names(&mut self, directory: usize) -> &mut BTreeMap<String, usize> {
        match &mut self.nodes[directory] {
            Node::Directory { names, .. } => names,
            other => panic!("{other:?} is no directory"),
        }
    }

    fn is_directory(&self, node: usize) -> bool {
        matches!(self.nodes[node], Node::Directory { .. })
    }

    fn add(&mut self, directory: usize, name: &str, node: Node) -> usize {
        self.nodes.push(node);
        let number = self.nodes.len() - 1;
        self.names(directory).insert(name.to_owned(), number);
        number
    }

    fn add_directory(&mut self, directory: usize, name: &str, opaque: bool) -> usize {
        let directory_node = Node::Directory {
            names: BTreeMap::new(),
            opaque,
            time: None,
        };
        self.add(directory, name, directory_node)
    }

    fn describe(&mut self, directory: usize, entry: u8) {
        if let Node::Directory { time, .. } = &mut self.nodes[directory] {
            *time = Some(entry);
        }
    }

    /// The directory at a path, links followed beneath the root.
    fn find(&mut self, path: &str) -> Result<usize, Refusal> {
        let mut way = vec![0];
        let mut left: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let mut links = 0;
        while let Some(part) = left.pop() {
            let here = *way.last().expect("the root stays");
            if !self.is_directory(here) {
                return Err(Refusal::NotADirectory);
            }
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    if way.len() > 1 {
                        way.pop();
                    }
                    continue;
                }
                _ => {}
            }
            let next = *self.names(here).get(&part).ok_or(Refusal::Missing)?;
            let Node::Symlink(target) = &self.nodes[next] else {
                way.push(next);
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(Refusal::Entry);
            }
            if target.starts_with('/') {
                way.truncate(1);
            }
            left.extend(target.split('/').rev().map(str::to_owned));
        }
        let found = *way.last().expect("the root stays");
        match self.is_directory(found) {
            true => Ok(found),
            false => Err(Refusal::NotADirectory),
        }
    }

    /// The same, what is missing made.
    fn make(&mut self, path: &str) -> Result<usize, Refusal> {
        match self.find(path) {
            Err(Refusal::Missing) => {}
            other => return other,
        }
        let (parent, name) = split(path);
        let directory = self.make(parent)?;
        // A link that leads nowhere is in the way.
        if self.names(directory).contains_key(name) {
            return Err(Refusal::Entry);
        }
        self.add_directory(directory, name, false);
        self.find(path)
    }

    /// The directory for a path's last part, nothing of that name in it.
    fn clear(&mut self, path: &str) -> Result<usize, Refusal> {
        let (parent, name) = split(path);
        let directory = self.make(parent)?;
        let Some(old) = self.names(directory).remove(name) else {
            return Ok(directory);
        };
        self.empty(old);
        // The way here may have led through what was removed.
        let directory = self.make(parent)?;
        match self.names(directory).contains_key(name) {
            true => Err(Refusal::Entry),
            false => Ok(directory),
        }
    }

    fn empty(&mut self, node: usize) {
        if self.is_directory(node) {
            for child in std::mem::take(self.names(node)).into_values() {
                self.empty(child);
            }
        }
    }

    fn apply(&mut self, kind: Kind, name: &str, target: &str, content: u8) -> Result<(), Refusal> {
        // Archives older than POSIX have no other way to say directory.
        let kind = match kind == Kind::File && name.ends_with('/') {
            true => Kind::Directory,
            false => kind,
        };
        let path = normal(name)?;
        if path.is_empty() {
            return match kind {
                Kind::Directory => {
                    self.describe(0, content);
                    Ok(())
                }
                _ => Err(Refusal::Entry),
            };
        }
        let (parent, name) = split(&path);
        if let Some(hidden) = name.strip_prefix(".wh.") {
            return self.hide(parent, hidden);
        }
        let node = match kind {
            // Only whiteouts by name are ones.
            Kind::Whiteout => return Ok(()),
            Kind::Hardlink => return self.link(&path, target),
            Kind::Directory => return self.directory(&path, content),
            Kind::File => Node::File(content),
            Kind::Symlink => Node::Symlink(target.to_owned()),
            Kind::Fifo => Node::Fifo,
        };
        let directory = self.clear(&path)?;
        self.add(directory, name, node);
        Ok(())
    }

    fn hide(&mut self, parent: &str, hidden: &str) -> Result<(), Refusal> {
        let opaque = hidden == ".wh..opq";
        if !opaque && hidden.starts_with(".wh.") {
            return Ok(());
        }
        if !opaque && matches!(hidden, "" | "." | "..") {
            return Err(Refusal::Entry);
        }
        if self.bottom || (opaque && parent.is_empty()) {
            return Ok(());
        }
        let directory = self.make(parent)?;
        let at = match opaque {
            true => Some(directory),
            false => self.names(directory).get(hidden).copied(),
        };
        match at.map(|at| &mut self.nodes[at]) {
            None => drop(self.add(directory, hidden, Node::Whiteout)),
            Some(Node::Directory { opaque, .. }) => *opaque = true,
            Some(_) => {}
        }
        Ok(())
    }

    fn directory(&mut self, path: &str, entry: u8) -> Result<(), Refusal> {
        let (parent, name) = split(path);
        let directory = self.make(parent)?;
        let old = self.names(directory).get(name).copied();
        if let Some(old) = old.filter(|old| self.is_directory(*old)) {
            self.describe(old, entry);
            return Ok(());
        }
        let hides = old.is_some_and(|old| matches!(self.nodes[old], Node::Whiteout));
        let directory = self.clear(path)?;
        let made = self.add_directory(directory, name, hides);
        self.describe(made, entry);
        Ok(())
    }

    fn link(&mut self, path: &str, target: &str) -> Result<(), Refusal> {
        let target = normal(target)?;
        if target.is_empty() || target == path {
            return Err(Refusal::Entry);
        }
        let (parent, name) = split(&target);
        let found = match self.find(parent) {
            Ok(directory) => self.names(directory).get(name).map(|node| (directory, *node)),
            Err(Refusal::Missing | Refusal::NotADirectory) => None,
            Err(other) => return Err(other),
        };
        let found = found.filter(|(_, node)| !matches!(self.nodes[*node], Node::Whiteout));
        let Some((from, node)) = found else {
            // It may lie in a layer below.
            return self.make(split(path).0).map(drop);
        };
        let above = target
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('/'));
        if self.is_directory(node) || above {
            return Err(Refusal::Entry);
        }
        let directory = self.clear(path)?;
        if self.names(from).get(name) != Some(&node) {
            return Err(Refusal::Entry);
        }
        self.names(directory).insert(split(path).1.to_owned(), node);
        Ok(())
    }
}
