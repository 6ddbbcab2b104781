// The list of result files.

const message = document.getElementById("message");

async function show() {
  const response = await fetch("detindex");
  const names = (await response.text()).split("\n").filter(Boolean);
  if (!names.length) {
    message.textContent = "No result files yet: the folder of detections holds no .json file.";
  }
  for (const name of names) {
    const link = document.createElement("a");
    link.href = `viewer?config=${encodeURIComponent(name)}&idx=0`;
    link.textContent = name;
    const item = document.createElement("li");
    item.append(link);
    document.getElementById("files").append(item);
  }
}

show().catch((error) => {
  message.textContent = `Cannot list the result files: ${error.message}`;
});
