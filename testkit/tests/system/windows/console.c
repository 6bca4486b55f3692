/* Runs a program in its own console window and reads and controls the window. The first argument is the command
 * line; a second one names a file for standard error, which otherwise goes to the window.
 * Each line of standard input is one request; its answer ends with a line of a single dot.
 *
 *   screen  the content of the window, as UTF-8
 *   mode    the mode of its output, as a number
 *   ctrl-c  presses these keys
 *   close   sends the program the event of a closing window
 *   wait    the program's exit code, once it has ended
 */
#include <stdio.h>
#include <string.h>
#include <windows.h>
#include <shellapi.h>

static HANDLE screen, process;

static void show(void)
{
    CONSOLE_SCREEN_BUFFER_INFO info;
    WCHAR row[512];
    char text[4 * 512];
    GetConsoleScreenBufferInfo(screen, &info);
    for (SHORT y = 0; y <= info.dwCursorPosition.Y; y++) {
        COORD at = { 0, y };
        DWORD length = 0;
        ReadConsoleOutputCharacterW(screen, row, info.dwSize.X < 512 ? info.dwSize.X : 512, at, &length);
        while (length > 0 && row[length - 1] == ' ')
            length--;
        int bytes = WideCharToMultiByte(CP_UTF8, 0, row, length, text, sizeof text, NULL, NULL);
        printf("%.*s\n", bytes, text);
    }
}

static int answer(const char *request)
{
    DWORD number = 0;
    if (!strcmp(request, "screen")) {
        show();
    } else if (!strcmp(request, "mode")) {
        GetConsoleMode(screen, &number);
        printf("%lu\n", number);
    } else if (!strcmp(request, "ctrl-c")) {
        /* This process shares the window and must ignore the event. */
        SetConsoleCtrlHandler(NULL, TRUE);
        if (!GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0))
            return 0;
    } else if (!strcmp(request, "close")) {
        /* Wine would end the program at once. Windows first calls the program's handlers, which this does. */
        FARPROC handlers = GetProcAddress(GetModuleHandleW(L"kernelbase"), "CtrlRoutine");
        LPTHREAD_START_ROUTINE routine = (LPTHREAD_START_ROUTINE)(void *)handlers;
        if (!CreateRemoteThread(process, NULL, 0, routine, (void *)CTRL_CLOSE_EVENT, 0, NULL))
            return 0;
    } else if (!strcmp(request, "wait")) {
        WaitForSingleObject(process, INFINITE);
        GetExitCodeProcess(process, &number);
        printf("%lu\n", number);
    } else {
        return 0;
    }
    printf(".\n");
    fflush(stdout);
    return 1;
}

int main(void)
{
    int count = 0;
    WCHAR **arguments = CommandLineToArgvW(GetCommandLineW(), &count);
    SECURITY_ATTRIBUTES inherited = { sizeof inherited, NULL, TRUE };
    STARTUPINFOW start = { 0 };
    PROCESS_INFORMATION started;
    char request[64];

    FreeConsole();
    if (count < 2 || !AllocConsole())
        return 97;
    screen = CreateFileW(L"CONOUT$", GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, &inherited,
                         OPEN_EXISTING, 0, NULL);
    start.cb = sizeof start;
    start.dwFlags = STARTF_USESTDHANDLES;
    start.hStdOutput = start.hStdError = screen;
    start.hStdInput = CreateFileW(L"CONIN$", GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE,
                                  &inherited, OPEN_EXISTING, 0, NULL);
    if (count > 2)
        start.hStdError = CreateFileW(arguments[2], FILE_APPEND_DATA, FILE_SHARE_READ | FILE_SHARE_WRITE, &inherited,
                                      CREATE_NEW, 0, NULL);
    if (!CreateProcessW(NULL, arguments[1], NULL, NULL, TRUE, 0, NULL, NULL, &start, &started))
        return 98;
    process = started.hProcess;
    while (fgets(request, sizeof request, stdin)) {
        request[strcspn(request, "\r\n")] = 0;
        if (!answer(request))
            return 99;
    }
    TerminateProcess(process, 1);
    return 0;
}
