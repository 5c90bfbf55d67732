// The one thing a page cannot do without a script: open the print dialog.
const button = document.getElementById("print");
if (button) {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
}
