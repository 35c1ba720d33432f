//! Images, through the adapter.

use tonic::Request;

use super::support::{IMAGE, TestNode};
use crate::cri::wire::v1::{self, image_service_server::ImageService as _};
use crate::model::{
    ContainerConfig, CreateContainerRequest, ImageSpec, RemoveContainerRequest, RuntimeService as _,
};

fn spec(image: &str) -> Option<v1::ImageSpec> {
    Some(v1::ImageSpec {
        image: image.to_owned(),
        ..v1::ImageSpec::default()
    })
}

async fn list(node: &TestNode, filter: Option<v1::ImageFilter>) -> Vec<v1::Image> {
    let request = v1::ListImagesRequest { filter };
    node.adapter
        .list_images(Request::new(request))
        .await
        .unwrap()
        .into_inner()
        .images
}

#[tokio::test]
async fn a_pulled_image_is_known_by_the_id_that_the_pull_returned() {
    let node = TestNode::new().await;
    let request = v1::PullImageRequest {
        image: spec(IMAGE),
        ..Default::default()
    };

    let id = node
        .adapter
        .pull_image(Request::new(request))
        .await
        .unwrap()
        .into_inner()
        .image_ref;

    let request = v1::ImageStatusRequest {
        image: spec(&id),
        verbose: false,
    };
    let image = node
        .adapter
        .image_status(Request::new(request))
        .await
        .unwrap()
        .into_inner()
        .image
        .unwrap();
    assert_eq!(image.id, id);
    assert_eq!(image.repo_tags, [IMAGE]);
    assert_eq!(list(&node, None).await, [image]);
}

#[tokio::test]
async fn an_unknown_image_is_an_answer_without_one_and_its_removal_succeeds() {
    let node = TestNode::new().await;
    let request = v1::ImageStatusRequest {
        image: spec("registry.example/none:1"),
        verbose: true,
    };

    let answer = node
        .adapter
        .image_status(Request::new(request))
        .await
        .unwrap()
        .into_inner();

    assert_eq!(answer.image, None);
    let request = v1::RemoveImageRequest {
        image: spec("registry.example/none:1"),
    };
    node.adapter.remove_image(Request::new(request)).await.unwrap();
}

#[tokio::test]
async fn a_filter_that_names_nothing_lists_everything() {
    let node = TestNode::new().await;
    let filter = |image| Some(v1::ImageFilter { image });

    assert_eq!(list(&node, filter(None)).await.len(), 1);
    assert_eq!(list(&node, filter(spec(""))).await.len(), 1);
    assert_eq!(list(&node, filter(spec(IMAGE))).await.len(), 1);
    assert_eq!(
        list(&node, filter(spec("registry.example/none:1"))).await.len(),
        0
    );
}

#[tokio::test]
async fn both_lists_of_file_systems_are_filled_in_every_field() {
    let node = TestNode::new().await;

    let answer = node
        .adapter
        .image_fs_info(Request::new(v1::ImageFsInfoRequest {}))
        .await;

    let answer = answer.unwrap().into_inner();
    for system in answer
        .image_filesystems
        .iter()
        .chain(&answer.container_filesystems)
    {
        assert!(system.timestamp > 0 && system.used_bytes.is_some() && system.inodes_used.is_some());
        assert!(!system.fs_id.clone().unwrap().mountpoint.is_empty());
    }
    assert_eq!(
        (answer.image_filesystems.len(), answer.container_filesystems.len()),
        (1, 1)
    );
}

#[tokio::test]
async fn an_image_of_a_container_that_is_none_of_ours_is_pinned_while_that_is_there() {
    let node = TestNode::new().await;
    let config = ContainerConfig {
        image: Some(ImageSpec::named(IMAGE)),
        ..ContainerConfig::default()
    };
    let request = CreateContainerRequest {
        config: Some(config),
        ..CreateContainerRequest::default()
    };

    let before = list(&node, None).await[0].pinned;
    let container_id = node.fake.create_container(request).await.unwrap().container_id;
    let meanwhile = list(&node, None).await[0].pinned;
    let request = RemoveContainerRequest { container_id };
    node.fake.remove_container(request).await.unwrap();

    assert_eq!((before, meanwhile), (false, true));
    assert!(!list(&node, None).await[0].pinned);
}
