"""Choosing a method by its question, and reading its page, in a real napari window."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_segxai.gui.widgets.method_box import START, MethodBox
from napari_segxai.methods.registry import QUESTIONS, START_HERE, all_methods


@pytest.fixture
def box(qtbot):
    """The methods, without a viewer."""
    box = MethodBox(all_methods("image"), "How to explain.")
    qtbot.addWidget(box)
    box.choose("misure")
    box.show()
    return box


def test_methods_are_grouped_by_question_with_a_few_to_start_with(box):
    box.showPopup()
    tree = box.chooser.tree
    asked = {method.question for method in all_methods("image")}
    groups = [tree.topLevelItem(k) for k in range(tree.topLevelItemCount())]
    assert [group.text(0) for group in groups] == [
        START,
        *(words for word, words in QUESTIONS.items() if word in asked),
    ]
    assert box.chooser.shown()[: len(START_HERE)] == list(START_HERE)
    assert set(box.chooser.shown()) == {method.name for method in all_methods("image")}
    for group in groups:
        assert group.childCount()
        assert all(group.child(k).text(1) for k in range(group.childCount()))  # a summary each
    assert box.chooser.isVisible()
    assert "MiSuRe" in box.chooser.about.text()
    assert "forward" in box.chooser.about.text()
    box.hidePopup()
    assert not box.chooser.isVisible()


def test_a_method_is_searched_and_chosen_with_the_keyboard(box, qtbot):
    box.showPopup()
    qtbot.keyClicks(box.chooser.search, "no such method")
    assert box.chooser.shown() == []
    assert box.chooser.tree.currentItem() is None
    box.chooser.search.clear()
    qtbot.keyClicks(box.chooser.search, "what if")  # the question itself is found
    assert set(box.chooser.shown()) >= {"occlusion", "counterfactual"}
    box.chooser.search.setText("baseline to the image")
    assert box.chooser.shown() == ["integrated-gradients"]
    qtbot.keyClick(box.chooser.search, Qt.Key.Key_Return)
    assert box.currentData() == "integrated-gradients"
    assert not box.chooser.isVisible()
    box.showPopup()
    qtbot.keyClick(box.chooser.search, Qt.Key.Key_Down)
    qtbot.keyClick(box.chooser.search, Qt.Key.Key_Return)
    assert box.currentData() == "kernel-shap"


def test_a_click_chooses_and_grey_methods_cannot_be(box, qtbot):
    box.set_reasons({"rise": "does not work today", "lime": ""})
    box.showPopup()
    tree = box.chooser.tree
    items = {item.text(0): item for item in box.chooser._items()}
    assert items["RISE"].isDisabled()
    assert items["RISE"].toolTip(0) == "does not work today"
    assert not items["LIME"].isDisabled()
    for title, expected in (("RISE", "misure"), ("LIME", "lime")):
        tree.scrollToItem(items[title])
        place = tree.visualItemRect(items[title]).center()
        qtbot.mouseClick(tree.viewport(), Qt.MouseButton.LeftButton, pos=place)
        assert box.currentData() == expected


def test_the_list_lies_on_the_screen_and_the_page_of_a_method_is_rendered_and_does_not_block(triangle_panel):
    panel = triangle_panel
    panel.fields.method_box.showPopup()
    chooser = panel.fields.method_box.chooser
    assert chooser.screen().availableGeometry().contains(chooser.geometry())
    panel.fields.method_box.hidePopup()
    panel.fields.help.click()
    page = panel.fields.help.page
    assert page.isVisible()
    assert not page.isModal()
    html = page.text.toHtml()
    assert "<table" in html  # the parameters
    text = page.text.toPlainText()
    assert "lambda / |M| sum |M|" in text  # the formula, as it was written
    assert "What did it need to see?" in text
    panel.fields.method_box.choose("rise")
    panel.fields.help.click()
    assert panel.fields.help.page is page
    assert "S(u) = 1 / (N p) sum_i f(x * M_i) M_i(u)" in page.text.toPlainText()
    assert QApplication.activeModalWidget() is None
    assert panel.run_bar.run.isEnabled()  # the dock can be used meanwhile


def test_every_dock_has_the_page(viewer):
    for dock in ("Information flow", "Compare and evaluate", "Sweep parameters"):
        _, panel = viewer.window.add_plugin_dock_widget("napari-segxai", dock)
        fields = panel.fields
        if dock == "Compare and evaluate":
            fields.methods.filter.setText("smallest part")
            shown = [k for k in fields.methods.tree.keys if not fields.methods.tree._items[k].isHidden()]
            assert shown == ["misure"]
            fields.methods.tree.set_current("misure")
            help_ = fields.methods.help
        else:
            help_ = fields.help
        help_.click()
        assert help_.page.isVisible()
        assert "Cost" in help_.page.text.toPlainText()
        help_.page.close()
        viewer.window.remove_dock_widget(panel)
